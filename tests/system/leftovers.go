package system

import (
	"fmt"
	"strings"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

// Fate is what must become of a leftover.
type Fate string

// The fates.
const (
	Gone  Fate = "gone"
	Lives Fate = "lives"
)

// Leftover is one way in which a process gets away from the login that it was
// started in.
type Leftover struct {
	Name string
	// Script is for sh, in the login's first program. $L is the command that is
	// left behind, $P its program, and $N its name, which is no other's.
	Script string
	// Beside is its fate while the user has another login, Last where the login
	// was his last.
	Beside, Last Fate
	Why          string // of what is not plain
	// Inside: it is in the login's control group, so that the time until this is
	// empty is also its time.
	Inside bool
}

// Leftovers are all of them.
func Leftovers() []Leftover {
	inside := func(name, script string) Leftover {
		return Leftover{Name: name, Script: script, Beside: Gone, Last: Gone, Inside: true}
	}
	shared := "below user@.service, which serves all of the user's logins and goes with the last one"
	apart := "not of the login: the system started it"
	return []Leftover{
		inside("setsid", "setsid $L &"),
		inside("nohup", "nohup $L &"),
		inside("double fork", "$P $N doublefork"),
		inside("tmux", `tmux -L "$N" new-session -d "$L"`),
		inside("screen", `screen -dmS "$N" $L`),
		inside("dbus-run-session", "setsid dbus-run-session -- $L &"),
		inside("env -i setsid", "env -i setsid $L &"),
		inside("sudo", "sudo setsid -f $L"),
		inside("sudo -u other", "sudo -u guest setsid -f $L"),
		inside("sudo that rewrites loginuid", `sudo sh -c "echo 0 >/proc/self/loginuid; exec setsid -f $L"`),
		inside("init of a pid namespace", "setsid unshare -Urpf --mount-proc $L &"),
		{
			Name: "ssh localhost", Script: `ssh -f -F none -o BatchMode=yes -o LogLevel=ERROR -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null 127.0.0.1 "$L"`,
			Beside: Gone, Last: Gone, Why: "a login of its own, which ends when its ssh in this one does",
		},
		{Name: "systemd-run --user --scope", Script: "setsid systemd-run --user --scope -q $L &", Beside: Lives, Last: Gone, Why: "put aside by name, `delegated = true` ends it too; " + shared},
		{Name: "systemd-run --user", Script: `systemd-run --user -q --collect --unit="$N" $L`, Beside: Lives, Last: Gone, Why: shared},
		{
			Name: "user unit", Beside: Lives, Last: Gone, Why: shared,
			Script: `mkdir -p ~/.config/systemd/user
				printf '[Service]\nExecStart=%s\n' "$L" >~/.config/systemd/user/"unit-$N".service
				systemctl --user daemon-reload; systemctl --user start "unit-$N"`,
		},
		{
			Name: "D-Bus-activated", Beside: Lives, Last: Gone, Why: shared,
			Script: `mkdir -p ~/.local/share/dbus-1/services ~/.config/systemd/user
				printf '[Service]\nExecStart=%s\n' "$L" >~/.config/systemd/user/"bus-$N".service
				printf '[D-BUS Service]\nName=org.xexit.%s\nExec=/bin/false\nSystemdService=bus-%s.service\n' "$(echo "$N" | tr -d -)" "$N" \
					>~/.local/share/dbus-1/services/"$N".service
				systemctl --user daemon-reload
				busctl --user call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig
				setsid timeout 20 busctl --user call "org.xexit.$(echo "$N" | tr -d -)" / org.freedesktop.DBus.Peer Ping &`,
		},
		{Name: "at", Script: `echo "exec $L" | at now`, Beside: Lives, Last: Lives, Why: apart},
		{
			Name: "cron", Beside: Lives, Last: Lives, Why: apart,
			Script: `echo "@reboot exec $L" | crontab -; sudo rm -f /run/crond.reboot
				sudo systemctl reset-failed cron; sudo systemctl restart cron`,
		},
		{Name: "sudo systemd-run", Script: `sudo systemd-run -q --collect --unit="$N" --uid="$USER" $L`, Beside: Lives, Last: Lives, Why: apart},
	}
}

// slug is a leftover's name as part of a unit's or a file's.
func (l *Leftover) slug() string {
	return strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, l.Name), "-")
}

// left is what one login leaves behind.
type left struct {
	Leftover
	ref *machine.Ref
}

// leave has a login leave these behind, and returns when all of them run.
func (h *Host) leave(l *Login, what []Leftover) ([]left, error) {
	var all []left
	for _, kind := range what {
		name := l.Name + "-" + kind.slug()
		script := "exec >>/tmp/" + name + ".log 2>&1 </dev/null\n" + kind.Script
		out, err := h.m.Run(l.Socket, agent.Request{
			Argv: []string{"/bin/sh", "-ec", script}, UID: -1,
			Add: []string{"N=" + name, "P=" + machine.Leftover, "L=" + machine.Leftover + " " + name + " obedient"},
		})
		if err == nil && out.Status != 0 {
			err = fmt.Errorf("exit status %d", out.Status)
		}
		var refs []*machine.Ref
		if err == nil {
			refs, err = h.m.Await(name, 1)
		}
		if err != nil {
			return all, fmt.Errorf("leave %s behind: %w: %s", kind.Name, err, h.text("/tmp/"+name+".log"))
		}
		all = append(all, left{kind, refs[len(refs)-1]})
	}
	return all, nil
}
