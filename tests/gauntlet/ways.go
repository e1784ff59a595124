// Package gauntlet has every way to outlive a session that is known to us, each
// a small program or script of its own, and puts them against what is to end
// them: xexit in its three positions, and its rivals. It proves that a way
// works by a control run, in which the session just ends.
//
// Beside each run lives what must not be touched. What may survive, and why,
// is written here before anything is run.
package gauntlet

// Position is where xexit stands.
type Position string

// The positions.
const (
	Root    Position = "as root"             // `xexit end --session LOGIN`
	Below   Position = "below xexit session" // the session is a command below it
	User    Position = "user mode"           // a display that `xexit watch` watches
	Nowhere Position = "a rival"
)

// inside reports whether the session is one within a login.
func (p Position) inside() bool { return p == Below || p == User }

// Way is one way to outlive a session.
type Way struct {
	Name string
	// Script is for sh, in the session: $O is the program outlive, $R the file
	// that says that the way is what it means to be, $S the control group of
	// the login. What it starts may not hold its output open.
	Script string
	Plain  bool // the script does not create $R: it is ready when it returns
	Hung   bool // it waits for the file system that never answers
	Bomb   bool // it forks all the time
	// May says where it may survive, and why. xexit names it there.
	May map[Position]string
}

const (
	rootsOwn  = "root's process: the kernel lets no user signal it (EPERM)"
	othersOwn = "another user's process: the kernel lets no user signal it (EPERM)"
	noTrace   = "an orphan without any mark: nothing says that it is this session's and not another's of the same login"
	breeds    = "each lives too short, and forks too much, for its environment to be read, and nothing else tells whose it is"
	inKernel  = "in an uninterruptible sleep: the kernel ends it when that is over"
)

// Ways are all of them.
func Ways() []Way {
	hidden := map[Position]string{User: noTrace}
	roots := map[Position]string{User: rootsOwn, Below: rootsOwn}
	others := map[Position]string{User: othersOwn, Below: othersOwn}
	return []Way{
		{Name: "setsid", Script: "setsid sleep 1000 &", Plain: true},
		{Name: "nohup", Script: "nohup sleep 1000 &", Plain: true},
		{Name: "double fork", Script: "$O double-fork $R"},
		{Name: "TERM ignorer", Script: "$O deaf $R &"},
		{Name: "interactive shell", Script: "setsid $O shell-on-pty $R &"},
		{Name: "stopped", Script: "setsid $O stopped $R &"},
		{Name: "stops itself again", Script: "setsid $O stops-again $R &"},
		{Name: "stopped parent of running children", Script: "setsid $O stopped-parent $R &"},
		{Name: "mutual watchdogs", Script: "setsid $O watchdogs $R &"},
		{Name: "mutual watchdogs that ignore TERM", Script: "setsid $O deaf-watchdogs $R &"},
		{Name: "exec chain with a new environment each millisecond", Script: "setsid $O exec-chain $R &", May: hidden},
		{Name: "env -i", Script: "env -i setsid $O deaf $R &", May: hidden},
		{Name: "environment overwritten", Script: "setsid $O overwritten $R &", May: hidden},
		{Name: "not dumpable", Script: "setsid $O non-dumpable $R &", May: hidden},
		{Name: "ssh-agent", Script: "ssh-agent -s", Plain: true, May: hidden},
		{Name: "gpg-agent", Script: "gpg-agent --daemon --homedir $(mktemp -d)", Plain: true, May: hidden},
		{Name: "dbus-run-session", Script: "setsid dbus-run-session -- $O deaf $R &"},
		{Name: "tmux", Script: "tmux -L $$ new-session -d $O deaf $R"},
		{Name: "screen", Script: "screen -dmS x$$ $O deaf $R"},
		{Name: "sudo child", Script: "sudo $O deaf $R &", May: roots},
		{Name: "sudo setsid, detached", Script: "sudo setsid -f $O deaf $R", May: roots},
		{Name: "sudo -u other", Script: "sudo -u bob setsid $O deaf $R &", May: others},
		{Name: "set-user-id program", Script: "setsid /usr/local/bin/outlive-root deaf $R &", May: hidden},
		{Name: "su to another", Script: `sudo su bob -c "setsid $O deaf $R" &`, May: others},
		{Name: "user namespace", Script: "setsid unshare -Ur $O deaf $R &"},
		{Name: "init of a pid namespace", Script: "setsid unshare -Urpf --mount-proc $O deaf $R &"},
		{Name: "bwrap with a cleared environment", Script: "setsid bwrap --dev-bind / / --unshare-pid --clearenv $O deaf $R &"},
		{Name: "subordinate uid", Script: "setsid unshare -U --map-auto --map-root-user setpriv --reuid 1000 --clear-groups $O deaf $R &", May: hidden},
		{Name: "traced process and its tracer", Script: "setsid $O tracer $R &"},
		{Name: "vfork parent", Script: "setsid $O vfork $R &"},
		{Name: "dead leader with live threads", Script: "setsid $O dead-leader $R &", May: hidden},
		{Name: "200 threads", Script: "setsid $O threads $R &"},
		{Name: "below a foreign subreaper", Script: "setsid $O subreaper $R &"},
		{Name: "in a control group of its own", Script: `sudo sh -c "mkdir $S/own && echo $$ >$S/own/cgroup.procs"; setsid $O deaf $R &`},
		{Name: "in a frozen control group", Script: `sudo sh -c "mkdir $S/ice"; setsid $O deaf $R & p=$!
			while [ ! -e $R ]; do sleep 0.01; done; sudo sh -c "echo $p >$S/ice/cgroup.procs; echo 1 >$S/ice/cgroup.freeze"`},
		{Name: "real-time spinner", Script: "setsid $O spin $R & sudo chrt -f -p 10 $!"},
		{Name: "memory hog", Script: "setsid $O hog $R &"},
		{Name: "10,000 open files", Script: "setsid $O open-files $R &"},
		{Name: "named `) S 1`", Script: "setsid $O name $R &"},
		{Name: "environment that blocks its reader", Script: "sudo setsid -f $O blocked-environ $R 21001", May: map[Position]string{User: noTrace}},
		{Name: "zombies of a parent that never reaps", Script: "setsid $O never-reaps $R &"},
		{
			Name: "uninterruptible", Script: "setsid $O hung $R /run/scenario/hung/x &", Hung: true,
			May: map[Position]string{Root: inKernel, Below: inKernel, User: inKernel},
		},
		{Name: "bomb: 300 chains of 50 ms", Script: "setsid $O bomb-chains $R &", Bomb: true, May: map[Position]string{User: breeds}},
		{Name: "bomb: 300 chains at full speed", Script: "setsid $O bomb-fast $R &", Bomb: true, May: map[Position]string{User: breeds}},
		{Name: "bomb: 50 times a daemon each millisecond", Script: "setsid $O bomb-daemons $R &", Bomb: true, May: map[Position]string{User: breeds}},
		{Name: "bomb: as many as may be", Script: "setsid $O bomb-fill $R &", Bomb: true, May: map[Position]string{User: breeds}},
	}
}
