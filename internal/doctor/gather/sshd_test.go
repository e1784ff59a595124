package gather

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"xexit/internal/doctor"
)

// files is a file system of name and text; what begins with "!" may not be read.
func files(pairs ...string) fs.FS {
	root := lockedFS{fstest.MapFS{}, map[string]bool{}}
	for i := 0; i < len(pairs); i += 2 {
		name := strings.TrimPrefix(pairs[i], "!")
		root.MapFS[name] = &fstest.MapFile{Data: []byte(pairs[i+1])}
		root.locked[name] = name != pairs[i]
	}
	return root
}

type lockedFS struct {
	fstest.MapFS
	locked map[string]bool
}

func (l lockedFS) Open(name string) (fs.File, error) {
	if l.locked[name] {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return l.MapFS.Open(name)
}

func (l lockedFS) ReadFile(name string) ([]byte, error) {
	if l.locked[name] {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return l.MapFS.ReadFile(name)
}

func TestReadSSHD(t *testing.T) {
	t.Parallel()
	const main = "etc/ssh/sshd_config"
	for _, c := range []struct {
		name string
		root fs.FS
		want doctor.SSH
	}{
		{"nothing said", files(main, "Port 22\n"), doctor.SSH{Count: 3}},
		{"said", files(main, "# ClientAliveInterval 5\nclientaliveinterval 30\nClientAliveCountMax 2\n"), doctor.SSH{Interval: 30 * time.Second, Count: 2, From: "/etc/ssh/sshd_config:2"}},
		{"the first one counts", files(main, "ClientAliveInterval 1m30s # so\nClientAliveInterval 5\n"), doctor.SSH{Interval: 90 * time.Second, Count: 3, From: "/etc/ssh/sshd_config:1"}},
		{"with an equals sign and quotes", files(main, "ClientAliveInterval=\"20\"\n"), doctor.SSH{Interval: 20 * time.Second, Count: 3, From: "/etc/ssh/sshd_config:1"}},
		{"a Match block is for some", files(main, "Match User bob\n ClientAliveInterval 5\n"), doctor.SSH{Count: 3, Match: true}},
		{"Match all is for all", files(main, "Match User bob\nMatch all\nClientAliveInterval 5\n"), doctor.SSH{Interval: 5 * time.Second, Count: 3, From: "/etc/ssh/sshd_config:3"}},
		{
			"an included file comes first, by name, and its Match ends with it",
			files(main, "Include /etc/ssh/sshd_config.d/*.conf\nClientAliveInterval 5\n",
				"etc/ssh/sshd_config.d/20.conf", "ClientAliveInterval 20\n",
				"etc/ssh/sshd_config.d/10.conf", "ClientAliveCountMax 1\nMatch User bob\nClientAliveInterval 10\n",
				"etc/ssh/sshd_config.d/05.conf.bak", "ClientAliveInterval 1\n"),
			doctor.SSH{Interval: 20 * time.Second, Count: 1, From: "/etc/ssh/sshd_config.d/20.conf:1", Match: true},
		},
		{
			"an Include in a Match block, relative",
			files(main, "Match User bob\nInclude more\n", "etc/ssh/more", "ClientAliveInterval 7\n"),
			doctor.SSH{Count: 3, Match: true},
		},
		{"an Include of nothing", files(main, "Include /etc/ssh/none/*.conf other\nClientAliveInterval 5"), doctor.SSH{Interval: 5 * time.Second, Count: 3, From: "/etc/ssh/sshd_config:2"}},
		{"an unreadable file", files("!"+main, ""), doctor.SSH{Unsure: "/etc/ssh/sshd_config: permission denied"}},
		{
			"an unreadable Include", files(main, "Include x\nClientAliveInterval 5\n", "!etc/ssh/x", ""),
			doctor.SSH{Unsure: "/etc/ssh/x: permission denied"},
		},
		{"a file that includes itself", files(main, "Include sshd_config\n"), doctor.SSH{Unsure: "/etc/ssh/sshd_config: too many levels of Include"}},
		{"no time", files(main, "ClientAliveInterval soon\n"), doctor.SSH{Count: 3, From: "/etc/ssh/sshd_config:1", Unsure: `/etc/ssh/sshd_config:1: "soon" is no time`}},
		{"no number", files(main, "ClientAliveCountMax x\n"), doctor.SSH{Unsure: `/etc/ssh/sshd_config:1: "x" is no number`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := readSSHD(c.root, doctor.SSH{}); got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestEffectiveSSHD(t *testing.T) {
	t.Parallel()
	got := parseEffective("port 22\nclientaliveinterval 15\nclientalivecountmax 4\n", doctor.SSH{Installed: true})
	if want := (doctor.SSH{Installed: true, Interval: 15 * time.Second, Count: 4, From: "sshd -T"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestSSHDTime(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0": 0, "90": 90 * time.Second, "1h30m": 90 * time.Minute, "2D": 48 * time.Hour, "1w": 7 * 24 * time.Hour, "1m5": 65 * time.Second,
	} {
		if got, err := sshdTime(text); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "-1", "1y", "99999999999", "none"} {
		if got, err := sshdTime(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestKillsLogins(t *testing.T) {
	t.Parallel()
	const yes, no = "[Login]\nKillUserProcesses=yes\n", "[Login]\nKillUserProcesses = no\n"
	for _, c := range []struct {
		name         string
		root         fs.FS
		from, unsure string
	}{
		{"nothing", files(), "", ""},
		{"said in a comment", files("etc/systemd/logind.conf", "[Login]\n#KillUserProcesses=yes\n"), "", ""},
		{"said in another section", files("etc/systemd/logind.conf", "[Other]\nKillUserProcesses=yes\n"), "", ""},
		{"said", files("etc/systemd/logind.conf", yes), "/etc/systemd/logind.conf", ""},
		{"said by the vendor, not by the site", files("etc/systemd/logind.conf", "[Login]\n", "usr/lib/systemd/logind.conf", yes), "", ""},
		{"taken back", files("etc/systemd/logind.conf", yes, "etc/systemd/logind.conf.d/a.conf", no), "", ""},
		{"the last drop-in counts", files("etc/systemd/logind.conf.d/a.conf", no, "run/systemd/logind.conf.d/b.conf", yes), "/run/systemd/logind.conf.d/b.conf", ""},
		{"of one name the first directory's counts", files("etc/systemd/logind.conf.d/a.conf", no, "usr/lib/systemd/logind.conf.d/a.conf", yes), "", ""},
		{"unreadable", files("!etc/systemd/logind.conf.d/a.conf", yes), "", "/etc/systemd/logind.conf.d/a.conf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if from, unsure := killsLogins(c.root); from != c.from || unsure != c.unsure {
				t.Errorf("%q, %q; want %q, %q", from, unsure, c.from, c.unsure)
			}
		})
	}
}
