package config

import "testing"

// TestBadInput fixes what people are told about their mistakes: the place, the
// key, what is wrong and what to do.
func TestBadInput(t *testing.T) {
	t.Parallel()
	for _, c := range badInput {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := &decoder{config: Default(), names: make(map[string]Position)}
			d.file("x.toml", []byte(c.text))
			if got := (&Error{d.problems}).Error(); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

var badInput = []struct{ name, text, want string }{
	{"unquoted duration and unknown scope", `grace = 3s
scope = "usr"`, `x.toml:1:10: grace: strings must be quoted; texts are written in quotes: grace = "3s"
x.toml:2:9: scope: unknown scope "usr"; did you mean "user"? valid are session or user`},
	{"number for a duration", `grace = 5`, `x.toml:1:9: grace: is an integer, expected a string; write grace = "5s"`},
	{"negative duration", `grace = "-1s"`, `x.toml:1:9: grace: "-1s" is negative; for example "3s"`},
	{"words for a duration", `grace = "3 seconds"`, `x.toml:1:9: grace: "3 seconds" is no duration (a number and ms, s, m, h, d or w); for example "3s"`},
	{"absurd duration", `grace = "5h"`, `x.toml:1:9: grace: "5h" is out of range; from "0s" to "10m"`},
	{"misspelt key", `graec = "3s"`, `x.toml:1:1: graec: unknown key; did you mean grace?`},
	{"key of a table at the top", `timeout = "3s"`, `x.toml:1:1: timeout: unknown key; timeout belongs in [hooks]`},
	{"keys in the wrong table", `[hooks]
grace = "3s"
timeuot = "3s"
out-put = "1K"
zzz = 1`, `x.toml:2:1: hooks.grace: unknown key; grace belongs at the top of the file, before the first [table]
x.toml:3:1: hooks.timeuot: unknown key; did you mean timeout?
x.toml:4:1: hooks.out-put: unknown key; did you mean output?
x.toml:5:1: hooks.zzz: unknown key; the keys here are dir, output, root-dir, shield or timeout`},
	{"misspelt table", `[hoks]
dir = "/x"`, `x.toml:1:2: hoks: unknown key; did you mean hooks?`},
	{"yes, colon, string for a list", `delegated = yes
scope: user
markers = "SITE"`, `x.toml:1:13: delegated: unexpected character U+0079 'y' at start of value; write delegated = true
x.toml:2:6: scope: expected '=' after key; write scope = VALUE
x.toml:3:11: markers: is a string, expected a list; write markers = ["SITE"]`},
	{"table twice", `[hooks]
shield = "no"
[hooks]
dir = "x"`, `x.toml:2:10: hooks.shield: is a string, expected true or false; write shield = false
x.toml:3:2: hooks: the table is there already, in line 1; put its keys together
x.toml:4:7: hooks.dir: "x" is no absolute path; for example "/etc/Xexit.d"`},
	{"key twice", `grace = "3s"
grace = "4s"`, `x.toml:2:1: grace: is set already, in line 1; remove one of them`},
	{"broken header", `grace = 1
[log
syslog = 7`, `x.toml:1:9: grace: is an integer, expected a string; write grace = "1s"
x.toml:2:5: expected ']' to close table name; see xexit.toml(5)`},
	{"program texts", `[[keep]]
name = "a"
programs = [
  "simulate",
  "./x",
  "^/usr/bin/foo$",
  '/usr/bin/R.*\.x',
  "/opt/(a|b)",
  "/opt/{a,b}",
  "/opt/run?",
  "/opt/.*",
  "/opt/sim/",
  "/opt//x",
  "/opt/../x",
  "/usr/bin/*",
  "/**",
  "~/bin/x",
  "$HOME/x",
  "/tmp/x",
  "/proc/self/exe",
  "/opt/a**",
  "/opt/**/**/x",
  "'/bin/x'",
  " /x",
  "",
  "/opt/\u001b",
  "/opt/ok/**",
  "/opt/ok/**",
  7,
  ["/x"],
]`, `x.toml:3:1: keep.programs: has a list in its list, expected strings only; write each in quotes of its own
x.toml:4:3: keep.programs: "simulate" is a base name, which anybody can give to a copy of anything; write the absolute path of the executable
x.toml:5:3: keep.programs: "./x" is a relative path; write the absolute path of the executable
x.toml:6:3: keep.programs: "^/usr/bin/foo$" is a regular expression, and matches nothing; write "/usr/bin/foo"; only * and ** are patterns
x.toml:7:3: keep.programs: "/usr/bin/R.*\\.x" is a regular expression, and matches nothing; write "/usr/bin/R*.x"; only * and ** are patterns
x.toml:8:3: keep.programs: "/opt/(a|b)" is a regular expression, and matches nothing; name each program by itself; only * and ** are patterns
x.toml:9:3: keep.programs: "/opt/{a,b}" is a pattern with more than * and **, and matches nothing; name each program by itself; only * and ** are patterns
x.toml:10:3: keep.programs: "/opt/run?" is a pattern with more than * and **, and matches nothing; name each program by itself; only * and ** are patterns
x.toml:11:3: keep.programs: "/opt/.*" means hidden files only; for all programs below it write "/opt/**"
x.toml:12:3: keep.programs: "/opt/sim/" is a directory; for all programs below it write "/opt/sim/**"
x.toml:13:3: keep.programs: "/opt//x" is not the shortest form of its path, and would match nothing; write "/opt/x"
x.toml:14:3: keep.programs: "/opt/../x" is not the shortest form of its path, and would match nothing; write "/x"
x.toml:15:3: keep.programs: "/usr/bin/*" takes in every program of the system, shells too: nothing would be ended; name the directory of the programs that are meant
x.toml:16:3: keep.programs: "/**" takes in every program of the system, shells too: nothing would be ended; name the directory of the programs that are meant
x.toml:17:3: keep.programs: "~/bin/x" has a ~ or a variable in it, and neither is replaced; write the path out; users' own files cannot be kept: users can change them
x.toml:18:3: keep.programs: "$HOME/x" has a ~ or a variable in it, and neither is replaced; write the path out; users' own files cannot be kept: users can change them
x.toml:19:3: keep.programs: "/tmp/x" can never match: in /tmp are no programs that only root can change; install the program where only root can write
x.toml:20:3: keep.programs: "/proc/self/exe" can never match: in /proc are no programs that only root can change; install the program where only root can write
x.toml:21:3: keep.programs: "/opt/a**": ** stands for whole directories only; use * within a name
x.toml:22:3: keep.programs: "/opt/**/**/x": ** after ** adds nothing; write "/opt/**/x"
x.toml:23:3: keep.programs: "'/bin/x'" has quotes within its quotes; write "/bin/x"
x.toml:24:3: keep.programs: " /x" begins or ends with a space; write "/x"
x.toml:25:3: keep.programs: "" is no path; for example "/usr/lib/R/bin/exec/R"
x.toml:26:3: keep.programs: "/opt/\x1b" is no path; for example "/usr/lib/R/bin/exec/R"
x.toml:28:3: keep.programs: has "/opt/ok/**" twice; remove one of them
x.toml:29:3: keep.programs: has an integer in its list, expected strings only; write each in quotes of its own`},
	{"limits and users", `[[keep]]
name = " a"
programs = "/opt/x"
for = 48
memory = 1048576
cpu = 200
tasks = "64"
count = 0
mem = "8G"
users = ["all", "%wheel", "+g", "a,b", "@", "@@x", "al*", "alice", "alice"]
after = ["logout", "link_lost", "power"]`, `x.toml:2:8: keep.name: " a" is no name; use up to 64 printable characters, without a space at either end
x.toml:3:12: keep.programs: is a string, expected a list; write programs = ["/opt/x"]
x.toml:4:7: keep.for: is an integer, expected a string; write for = "48h"
x.toml:5:10: keep.memory: is an integer, expected a string; write memory = "1M"
x.toml:6:7: keep.cpu: is an integer, expected a string; write cpu = "200%"
x.toml:7:9: keep.tasks: is a string, expected an integer; write tasks = 64
x.toml:8:9: keep.count: 0 is out of range; from 1 to 4194304
x.toml:9:1: keep.mem: unknown key; did you mean memory?
x.toml:10:10: keep.users: "all" is no user; for everybody leave users out
x.toml:10:17: keep.users: "%wheel" is no user; groups are written "@wheel"
x.toml:10:27: keep.users: "+g" is no user; write "g", or "@g" for a group
x.toml:10:33: keep.users: "a,b" is no user; write each in quotes of its own
x.toml:10:40: keep.users: "@" is no user or @group; for example "alice" or "@researchers"
x.toml:10:45: keep.users: "@@x" is no user; write "x", or "@x" for a group
x.toml:10:52: keep.users: "al*" is a pattern, and users are named one by one; put them into a group, and name that: "@researchers"
x.toml:10:68: keep.users: has "alice" twice; remove one of them
x.toml:11:20: keep.after: unknown reason "link_lost"; did you mean "link-lost"? valid are logout, server-gone, link-lost, blind, requested, leader-exit, limit or other
x.toml:11:33: keep.after: unknown reason "power"; valid are logout, server-gone, link-lost, blind, requested, leader-exit, limit or other`},
	{"limits out of range", `[[keep]]
name = "a"
programs = ["/opt/x"]
for = "0"
memory = "8GB"
cpu = "0%"
tasks = -1
count = 99999999999
users = []
after = []`, `x.toml:4:7: keep.for: "0" is out of range; from "1s" to "366d"
x.toml:5:10: keep.memory: "8GB" is no size (a number and K, M, G or T); for example "8G"
x.toml:6:7: keep.cpu: "0%" is out of range; from "1%" to "100000%"
x.toml:7:9: keep.tasks: -1 is out of range; from 1 to 4194304
x.toml:8:9: keep.count: 99999999999 is out of range; from 1 to 4194304
x.toml:9:1: keep.users: the list is empty; for everything leave users out
x.toml:10:1: keep.after: the list is empty; for everything leave after out`},
	{"limits of odd shapes", `[[keep]]
name = "a"
programs = ["/opt/x"]
for = "10000d"
memory = "1K"
cpu = "2"
tasks = 1.5`, `x.toml:4:7: keep.for: "10000d" is out of range; from "1s" to "366d"
x.toml:5:10: keep.memory: "1K" is out of range; from "1M" to "1024T"
x.toml:6:7: keep.cpu: "2" is no percentage; for example "200%", which is two processors
x.toml:7:9: keep.tasks: is a number, expected an integer; write tasks = 4`},
	{"rules that lack something", `[[keep]]
[[keep]]
name = "a"
programs = []
[[keep]]
name = "a"
programs = ["/opt/x"]`, `x.toml:1:3: keep: has no name; add name = "batch science"
x.toml:1:3: keep: has no programs; add programs = ["/usr/lib/R/bin/exec/R"]
x.toml:4:1: keep.programs: the list is empty; name the programs that may live on
x.toml:6:8: keep.name: "a" is the name of the rule at x.toml:3:8 too; give each rule a name of its own: reports tell them apart by it`},
	{"rule with single brackets", `[keep]
name = "a"`, `x.toml:1:2: keep: is one table, expected a list of tables; write [[keep]], with two brackets, before each rule`},
	{"rule with single brackets after others", `[[keep]]
name = "a"
programs = ["/opt/x"]
[keep]
name = "b"`, `x.toml:4:2: keep: [keep] after [[keep]] in line 1; write [[keep]] for one more of them`},
	{"rules as a list of other things", `keep = [{name="b", programs=["/opt/x"]}, 3]`, `x.toml:1:42: keep: has an integer in its list, expected tables; write [[keep]] before each rule`},
	{"markers", `markers = ["HOME", "XEXIT_SESSION", "A=b", "9x", "$FOO", "OK", "OK"]`, "x.toml:1:12: markers: HOME is the same in all sessions of a user and tells none from another; name a variable that each session has a value of its own for\n" +
		"x.toml:1:20: markers: XEXIT_SESSION is the unique marker, which always counts; remove it\n" +
		"x.toml:1:37: markers: \"A=b\" has a value, which is one session's only; write \"A\"; values are for `xexit watch --marker`\n" +
		"x.toml:1:44: markers: \"9x\" is no name of a variable; letters, digits and _, no digit first\n" +
		"x.toml:1:50: markers: \"$FOO\" is no name of a variable; write \"FOO\"\n" +
		"x.toml:1:64: markers: has \"OK\" twice; remove one of them"},
	{"unterminated text", `grace = "3s
scope = "usr"`, `x.toml:1:12: grace: basic strings cannot have new lines; the quotes that end the text are missing
x.toml:2:9: scope: unknown scope "usr"; did you mean "user"? valid are session or user`},
	{"unterminated long text", `x = """abc
def`, `x.toml:2:3: multiline basic string not terminated by """; the quotes that end the text are missing`},
	{"missing comma", `markers = [
  "A"
  "B"
]
scope = "x"`, `x.toml:3:3: expected ',' or ']' after array value; is a comma missing before it?
x.toml:5:9: scope: unknown scope "x"; valid are session or user`},
	{"bad escape", `scope = "a\d"`, `x.toml:1:11: scope: invalid escape character U+0064 'd'; a backslash in "..." is written \\; in '...' it stands for itself`},
	{"table and value", `hooks = 3
hooks.dir = "/x"`, `x.toml:1:9: hooks: is an integer, expected a table; write [hooks] on a line of its own, then its keys: dir, output, root-dir, shield or timeout
x.toml:2:1: hooks: is an integer in line 1 and cannot be a table too; remove one of them`},
	{"table and dotted keys", `hooks.dir = "/x"
[hooks]
timeout = "1s"`, `x.toml:2:2: hooks: table hooks already exists as defined by a dotted key; define each table once, in one way`},
	{"wrong types", `grace = 2026-01-01
scope = 3.5
[log]
file = 1
syslog = "off"
[hooks]
dir = 1
output = 65536
shield = []`, `x.toml:1:9: grace: is a date or time, expected a string; write grace = "3s"
x.toml:2:9: scope: is a number, expected a string; write scope = "session"
x.toml:4:8: log.file: is an integer, expected true or false; write file = true
x.toml:5:10: log.syslog: is a string, expected true or false; write syslog = false
x.toml:7:7: hooks.dir: is an integer, expected a string; write dir = "/etc/Xexit.d"
x.toml:8:10: hooks.output: is an integer, expected a string; write output = "64K"
x.toml:9:1: hooks.shield: is a list, expected true or false; write shield = true`},
	{"hooks out of range", `[hooks]
dir = "hooks.d"
timeout = "1ms"
output = "1T"`, `x.toml:2:7: hooks.dir: "hooks.d" is no absolute path; for example "/etc/Xexit.d"
x.toml:3:11: hooks.timeout: "1ms" is out of range; from "100ms" to "1h"
x.toml:4:10: hooks.output: "1T" is out of range; from "1K" to "16M"`},
	{"the daemon's words", `[daemon]
types = ["x11", "x11", "sshd", "X11", "graphical", 7]
audit-only = "yes"
exempt = ["mosh-server", "vscode", "podman", "slurm", "slurm"]
types-of = []`, `x.toml:2:17: daemon.types: has "x11" twice; remove one of them
x.toml:2:24: daemon.types: unknown type of login "sshd"; did you mean "ssh"? valid are x11, wayland, ssh, tty or other
x.toml:2:32: daemon.types: unknown type of login "X11"; did you mean "x11"? valid are x11, wayland, ssh, tty or other
x.toml:2:39: daemon.types: unknown type of login "graphical"; valid are x11, wayland, ssh, tty or other
x.toml:2:52: daemon.types: has an integer in its list, expected strings only; write each in quotes of its own
x.toml:3:14: daemon.audit-only: is a string, expected true or false; write audit-only = true
x.toml:4:11: daemon.exempt: unknown exemption "mosh-server"; did you mean "mosh"? valid are mosh, vscode-server, ssh-master, slurm, pbs, flux, containers or services
x.toml:4:26: daemon.exempt: unknown exemption "vscode"; did you mean "vscode-server"? valid are mosh, vscode-server, ssh-master, slurm, pbs, flux, containers or services
x.toml:4:36: daemon.exempt: unknown exemption "podman"; valid are mosh, vscode-server, ssh-master, slurm, pbs, flux, containers or services
x.toml:4:55: daemon.exempt: has "slurm" twice; remove one of them
x.toml:5:1: daemon.types-of: unknown key; did you mean types?`},
	{"the daemon's lists", `[daemon]
types = []
exempt = "mosh"
on-lost = "end"
[display]
types = "x11"`, `x.toml:2:1: daemon.types: the list is empty; name the types of logins that are taken on: x11, wayland, ssh, tty or other
x.toml:3:10: daemon.exempt: is a string, expected a list; write exempt = ["mosh"]
x.toml:4:1: daemon.on-lost: unknown key; on-lost belongs in [display]
x.toml:6:1: display.types: unknown key; types belongs in [daemon]`},
	{"the displays'", `audit-only = true
[display]
on-lost = "End"
reconnect = 30
[display]
[hooks]
root-dir = "end.d"
[displays]
on-lost = true`, `x.toml:1:1: audit-only: unknown key; audit-only belongs in [daemon]
x.toml:3:11: display.on-lost: unknown answer to a lost display "End"; did you mean "end"? valid are auto, end or ignore
x.toml:4:13: display.reconnect: is an integer, expected a string; write reconnect = "30s"
x.toml:5:2: display: the table is there already, in line 2; put its keys together
x.toml:7:12: hooks.root-dir: "end.d" is no absolute path; for example "/etc/xexit/end.d"
x.toml:8:2: displays: unknown key; did you mean display?`},
	{"the displays' out of range", `[display]
on-lost = true
reconnect = "2d"
[daemon]
exempt = ["containers"]
exempt = []`, `x.toml:2:11: display.on-lost: is true or false, expected a string; write on-lost = "auto"
x.toml:3:13: display.reconnect: "2d" is out of range; from "0s" to "1d"
x.toml:6:1: exempt: is set already, in line 5; remove one of them`},
	{"the displays' times", `lost-after = "20s"
[display]
lost-after = "15ms"
blind-after = 60
hung-after = "-1s"
hang-after = "1m"`, `x.toml:1:1: lost-after: unknown key; lost-after belongs in [display]
x.toml:3:14: display.lost-after: "15ms" is out of range; from "1s" to "1d"
x.toml:4:15: display.blind-after: is an integer, expected a string; write blind-after = "60s"
x.toml:5:14: display.hung-after: "-1s" is negative; for example "10m"
x.toml:6:1: display.hang-after: unknown key; did you mean hung-after?`},
	{"hostile texts", `scope = "\u001b[2J\u202e"
"a\nb" = 1
`, `x.toml:1:9: scope: unknown scope "\x1b[2J\u202e"; valid are session or user
x.toml:2:1: a\x0ab: unknown key; the keys here are daemon, delegated, display, grace, hooks, keep, log, markers, pam-close or scope`},
	{"not UTF-8", "scope = \"\xff\"", `x.toml:1:10: scope: invalid UTF-8 character in basic string; save the file as UTF-8`},
}
