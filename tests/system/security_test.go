package system

import (
	"testing"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

// attack is what a user may try, so that his processes outlive his login, or
// another's do not; docs/security.md lists them. alice is the victim.
type attack struct {
	name string
	// before is done by root.
	before string
	// script is bob's, in his login: $P NAME KIND is left behind, $N is a name
	// that is no other's, $VICTIM the id of alice's login, $GROUP bob's control
	// group. With more, one more of the name $N-x announces itself.
	script string
	more   bool
	// meanwhile is what happens before bob logs out.
	meanwhile func(h *Host, t *testing.T)
	// after is root's; it fails if the attack has succeeded.
	after string
}

const secret = "31f5c6-secret-of-root"

func attacks() []attack {
	noEscape := `if xexit log | grep -q "$(printf '\033')"; then exit 1; fi
		if journalctl -a -u xexit.service -o cat | grep -q "$(printf '\033')"; then exit 1; fi`
	return []attack{
		{
			name: "forged markers", more: true,
			script: `env XEXIT_SESSION=00000000-0000-4000-8000-000000000001 XDG_SESSION_ID=$VICTIM LTSP_CLIENT_HOSTNAME=other DISPLAY=:0 setsid $P $N-x obedient &`,
		},
		{
			name: "no environment, no descent, no terminal", more: true,
			script: `env -i setsid -f $P $N-x doublefork`,
		},
		{
			name: "calls himself sshd", more: true,
			script: `cp $P ~/sshd; cd ~; exec -a 'sshd: bob [priv]' setsid -f ~/sshd $N-x obedient`,
		},
		{
			name: "terminal escapes in his name", more: true,
			script: `f="$HOME/$(printf 'x\033[31mo\007\nwn')"; cp $P "$f"; setsid "$f" $N-x termignorer &`,
			after:  noEscape,
		},
		{
			name: "an environment that blocks its reader", more: true,
			before: `(echo $$ >/sys/fs/cgroup$GROUP/cgroup.procs; setsid -f ` + outlive + ` blocked-environ /run/scenario/$N.ready 21002) >/dev/null 2>&1
				while [ ! -e /run/scenario/$N.ready ]; do sleep 0.05; done`,
			script: `setsid $P $N-x obedient &`,
		},
		{
			name:   "symbolic links in his home, in /tmp and in his runtime directory",
			before: `mkdir -p -m 700 /root/loot; sha256sum /etc/shadow /etc/passwd >/root/sums`,
			script: `mkdir -p ~/.local/state ~/.config; for f in ~/.local/state/xexit ~/.config/xexit ~/.xsession-errors /tmp/xexit $XDG_RUNTIME_DIR/xexit; do
				rm -rf $f; ln -sfn /root/loot $f; done; ln -sfn /etc/shadow ~/.Xauthority`,
			after: `sha256sum --quiet -c /root/sums; [ -z "$(ls -A /root/loot)" ]`,
		},
		{
			name: "XAUTHORITY is a file of root's", more: true,
			before: `umask 077; echo ` + secret + ` >/root/secret`,
			script: `env DISPLAY=:77 XAUTHORITY=/root/secret setsid $P $N-x obedient &`,
			after: `if journalctl -a -o cat -u 'xexit*' | grep -q ` + secret + `; then exit 1; fi
				if grep -rq ` + secret + ` /var/lib/xexit /run/xexit; then exit 1; fi`,
		},
		{
			name: "an X server that answers with rubbish", more: true,
			script: `mkdir -p /tmp/.X11-unix; setsid perl -MIO::Socket::UNIX -e '$s = IO::Socket::UNIX->new(Local => "/tmp/.X11-unix/X78", Listen => 9) or die;
				while ($c = $s->accept) { if (!fork) { $SIG{PIPE} = "IGNORE"; for (1 .. 4096) { syswrite($c, "\xff" x 65536) or exit } exit } }' >/dev/null 2>&1 </dev/null &
				env DISPLAY=:78 setsid $P $N-x obedient &`,
		},
		{
			name: "a flood of connections to the daemon", more: true,
			script: `setsid perl -MIO::Socket::UNIX -e '$SIG{PIPE} = "IGNORE"; for (1 .. 900) { my $c = IO::Socket::UNIX->new(Peer => "/run/xexit/control") or next;
				push @all, $c; $c->blocking(0); syswrite($c, "{\"v\":1,\"op\":\"" . ("x" x 9000)) } @all > 99 or die; open(F, ">", $ARGV[0]); close F; sleep 1000' /run/scenario/$N.flooded >/dev/null 2>&1 </dev/null &
				while [ ! -e /run/scenario/$N.flooded ]; do sleep 0.05; done; setsid $P $N-x obedient &`,
			meanwhile: (*Host).another,
		},
		{
			name: "asks for the end of another's login",
			script: `if xexit end --session $VICTIM; then exit 1; fi
				if loginctl kill-session $VICTIM; then exit 1; fi
				if loginctl terminate-session $VICTIM; then exit 1; fi`,
		},
		{
			name: "a hook of his own",
			before: `umount -q /etc/Xexit.d || :
				mkdir -p /etc/Xexit.d; rm -f /etc/Xexit.d/* /tmp/hook-*
				printf '#!/bin/sh\ntouch /tmp/hook-loose\n' >/etc/Xexit.d/50-loose; chmod 777 /etc/Xexit.d/50-loose
				printf '#!/bin/sh\ntouch /tmp/hook-his\n' >/etc/Xexit.d/60-his; chmod 755 /etc/Xexit.d/60-his; chown bob /etc/Xexit.d/60-his
				printf '#!/bin/sh\nid -u >/tmp/hook-good\n' >/etc/Xexit.d/70-good; chmod 755 /etc/Xexit.d/70-good`,
			script: `if ln -sf /tmp/evil /etc/Xexit.d/10-mine; then exit 1; fi`,
			after:  `[ ! -e /tmp/hook-loose ]; [ ! -e /tmp/hook-his ]; [ "$(cat /tmp/hook-good)" = 21002 ]; rm -f /etc/Xexit.d/*`,
		},
		{
			name: "control groups of his own, frozen",
			// It is not his login's any more, and goes with his manager, which systemd ends.
			script: `if sh -c "echo $$ >/sys/fs/cgroup/user.slice/user-21002.slice/user@21002.service/app.slice/cgroup.procs"; then exit 1; fi
				if mkdir /sys/fs/cgroup$GROUP/mine; then exit 1; fi
				if sh -c "echo 1 >/sys/fs/cgroup$GROUP/cgroup.freeze"; then exit 1; fi
				setsid systemd-run --user --scope -q --unit=ice-$N sleep 1000 >/dev/null 2>&1 </dev/null &
				g=/sys/fs/cgroup/user.slice/user-21002.slice/user@21002.service/app.slice/ice-$N.scope
				while [ ! -e $g/cgroup.freeze ]; do sleep 0.05; done; echo 1 >$g/cgroup.freeze`,
			after: `for f in /sys/fs/cgroup/user.slice/user-21002.slice/user@21002.service/app.slice/ice-*.scope; do
				[ ! -e $f ] || echo 1 >$f/cgroup.kill; done`,
		},
	}
}

// security: none of it keeps anybody of bob's login, touches anybody of
// alice's, or has root touch what is not the attacker's.
func security(t *testing.T, stage string) {
	h := host(t, machine.Debian12, stage)
	if err := h.root("echo 'alice ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/tests"); err != nil {
		t.Fatal(err)
	}
	victim, err := h.stay("alice", some())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range attacks() {
		t.Run(a.name, func(t *testing.T) { h.attacked(t, a, victim) })
	}
	t.Run("the same client name again", h.sameClient)
}

func (h *Host) attacked(t *testing.T, a attack, victim *Stay) {
	l, err := h.Open(Kinds()[0], "bob")
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"N=" + l.Name, "GROUP=" + l.Group, "VICTIM=" + victim.login.ID, "P=" + machine.Leftover}
	if a.before != "" {
		if err := h.root(a.before, env...); err != nil {
			t.Fatal(err)
		}
	}
	lefts, err := h.leave(l, []Leftover{Leftovers()[0], deaf()})
	if err != nil {
		t.Fatal(err)
	}
	out, err := h.m.Run(l.Socket, agent.Request{Argv: []string{"/bin/bash", "-ec", "exec 2>/tmp/" + l.Name + ".err\n" + a.script}, UID: -1, Add: env})
	if err != nil || out.Status != 0 {
		t.Fatalf("the attack could not be made: %v, exit status %d: %s", err, out.Status, h.text("/tmp/"+l.Name+".err"))
	}
	if a.more {
		refs, err := h.m.Await(l.Name+"-x", 1)
		if err != nil {
			t.Fatal(err)
		}
		lefts = append(lefts, left{Leftover{Name: "the attack's"}, refs[0]})
	}
	if a.meanwhile != nil {
		a.meanwhile(h, t)
	}
	if err := l.end(Logout); err != nil {
		t.Fatal(err)
	}
	done, err := h.recorded(l.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !done.Verified || len(done.Survivors) > 0 {
		t.Errorf("verified %v, survivors %v", done.Verified, done.Survivors)
	}
	for _, one := range lefts {
		if !one.ref.Gone(machine.Guard) {
			t.Errorf("%s lives", one.Name)
		}
	}
	if hurt := victim.hurt(); len(hurt) > 0 {
		t.Fatalf("alice was hurt: %q", hurt)
	}
	if a.after != "" {
		if err := h.root(a.after, env...); err != nil {
			t.Error(err)
		}
	}
	if err := h.clear(l, lefts); err != nil {
		t.Error(err)
	}
}

// sameClient: who logs in again from the same client, before the end of his
// first login is over, keeps what he has.
func (h *Host) sameClient(t *testing.T) {
	const client = "LTSP_CLIENT_HOSTNAME=ltsp7"
	first, err := h.Open(Kinds()[0], "bob")
	if err != nil {
		t.Fatal(err)
	}
	second, err := h.Open(Kinds()[0], "bob")
	if err != nil {
		t.Fatal(err)
	}
	var refs []*machine.Ref
	for _, l := range []*Login{first, second} {
		out, err := h.m.Run(l.Socket, agent.Request{
			Argv: []string{"/bin/sh", "-c", "setsid $P $N obedient >/dev/null 2>&1 </dev/null &"}, UID: -1,
			Add: []string{client, "XEXIT_SESSION=00000000-0000-4000-8000-000000000002", "P=" + machine.Leftover, "N=" + l.Name},
		})
		if err != nil || out.Status != 0 {
			t.Fatal(err, out)
		}
		some, err := h.m.Await(l.Name, 1)
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, some[0])
	}
	if err := first.end(Logout); err != nil {
		t.Fatal(err)
	}
	if _, err := h.recorded(first.ID); err != nil {
		t.Fatal(err)
	}
	if !refs[0].Gone(machine.Guard) {
		t.Error("what the first login left lives")
	}
	if !refs[1].Alive() || !second.Session.Leader.Alive() {
		t.Error("the second login was hurt")
	}
	if err := second.end(Logout); err != nil {
		t.Fatal(err)
	}
	if _, err := h.recorded(second.ID); err != nil {
		t.Error(err)
	}
}
