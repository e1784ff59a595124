package exempt

// resident is a program that runs in the login that is ended.
type resident struct {
	name string
	// exemption is what it lives on by; "": by nothing, it goes.
	exemption string
	// script starts it, for sh in the login. $S are ssh's options, $V is a
	// directory of a VS Code server.
	script string
	// patterns are of its processes' command lines.
	patterns []string
	// group is the control group that root puts it into, as a batch system does.
	group string
	// client is run by root outside of the login: who uses it.
	client string
}

// residents are those who live on, and those who only look like them.
func residents() []resident {
	return append(genuine(), disguised()...)
}

const job = "sleep 413"

func genuine() []resident {
	return []resident{
		{
			name: "mosh session", exemption: "mosh",
			script: `LANG=C.UTF-8 mosh-server new -i 127.0.0.1 -p 60001 -- /bin/sh -c 'setsid sleep 4102 & exec sleep 4101' >/run/scenario/mosh 2>&1`,
			client: `set -- $(grep CONNECT /run/scenario/mosh)
				sleep 4103 | MOSH_KEY=$4 TERM=xterm LANG=C.UTF-8 script -qc 'stty rows 24 cols 80; mosh-client 127.0.0.1 60001' /dev/null`,
			patterns: []string{"mosh-server new .* 60001 .*", "sleep 4101", "sleep 4102"},
		},
		{
			name: "ControlPersist master", exemption: "ssh-master",
			script:   `ssh $S -o ControlMaster=auto -o ControlPersist=600 -o ControlPath=$HOME/.ssh/shared bob@127.0.0.1 true`,
			patterns: []string{`ssh: .*/shared \[mux\]`},
		},
		{
			name: "master that was put into the background", exemption: "ssh-master",
			script:   `ssh $S -f -N -M -o ControlPath=$HOME/.ssh/second -L 127.0.0.1:4998:127.0.0.1:22 bob@127.0.0.1`,
			patterns: []string{"ssh .* -L 127.0.0.1:4998:.*"},
		},
		{
			name: "VS Code server", exemption: "vscode-server",
			script:   `cp /bin/bash $V/node; setsid $V/node -c 'setsid sleep 4121 & sleep 4122 & wait' &`,
			patterns: []string{`.*/\.vscode-server/.*/node -c .*`, "sleep 4121", "sleep 4122"},
		},
		{
			name: "Slurm job", exemption: "slurm", script: "setsid " + job + "1 &", patterns: []string{job + "1"},
			group: "system.slice/slurmstepd.scope/job_1/step_0/user/task_0",
		},
		{
			name: "PBS job", exemption: "pbs", script: "setsid " + job + "2 &", patterns: []string{job + "2"},
			group: "pbs_jobs.service/jobs/1.host",
		},
		{
			name: "Flux job", exemption: "flux", script: "setsid " + job + "3 &", patterns: []string{job + "3"},
			group: "user.slice/user-499.slice/user@499.service/app.slice/imp-shell-0-fXYZ.service",
		},
		{
			name: "rootless container in the login's scope", exemption: "containers",
			script: `mkdir /tmp/no-bus
				env -u DBUS_SESSION_BUS_ADDRESS XDG_RUNTIME_DIR=/tmp/no-bus podman --storage-driver=vfs --cgroup-manager=cgroupfs --root /tmp/no-bus/r --runroot /tmp/no-bus/rr \
					--tmpdir /tmp/no-bus/t run -d --network host --pid host --rootfs $HOME/tree /bin/sleep 4141`,
			patterns: []string{".*/conmon .*/no-bus/.*", "/bin/sleep 4141"},
		},
		{
			name: "rootless container in a scope of its own", exemption: "containers",
			script:   `podman --storage-driver=vfs --cgroup-manager=cgroupfs run -d --network host --pid host --rootfs $HOME/tree /bin/sleep 4142`,
			patterns: []string{".*/conmon .*/run/user/.*", "/bin/sleep 4142"},
		},
	}
}

// disguised are what a user may try so as to be taken for one of them, and what
// is none though it executes the same.
func disguised() []resident {
	return []resident{
		{name: "daemon", script: "setsid sleep 4201 &", patterns: []string{"sleep 4201"}},
		{name: "ssh that is not in the background", script: "ssh $S bob@127.0.0.1 sleep 4202 &", patterns: []string{"ssh .* sleep 4202"}},
		{
			name:     "tunnel in the background",
			script:   `ssh $S -f -N -L 127.0.0.1:4999:127.0.0.1:22 bob@127.0.0.1`,
			patterns: []string{"ssh .* -L 127.0.0.1:4999:.*"},
		},
		{name: "ssh -f", script: "ssh $S -f bob@127.0.0.1 sleep 4211", patterns: []string{"ssh .* -f .* sleep 4211"}},
		{name: "copy by that name", script: "cp /bin/sleep ~/mosh-server; setsid ~/mosh-server 4203 &", patterns: []string{".*/mosh-server 4203"}},
		{name: "argument by that name", script: "setsid bash -c 'exec -a /usr/bin/mosh-server sleep 4204' &", patterns: []string{"/usr/bin/mosh-server 4204"}},
		{
			name:     "mounted over it, in mounts of its own",
			script:   "setsid unshare -Urm sh -c 'mount --bind /bin/sleep /usr/bin/mosh-server; exec /usr/bin/mosh-server 4205' &",
			patterns: []string{"/usr/bin/mosh-server 4205"},
		},
		{
			name:     "in a user namespace of its own",
			script:   "setsid unshare -Ur env LANG=C.UTF-8 mosh-server new -i 127.0.0.1 -p 60002 -- sleep 4206",
			patterns: []string{"mosh-server new .* 60002 .*"},
		},
		{
			name: "deleted file",
			script: `cp /bin/sleep $V/gone; setsid $V/gone 4207 &
				until [ "$(readlink /proc/$!/exe)" = $V/gone ]; do sleep 0.01; done; rm $V/gone`,
			patterns: []string{".*/gone 4207"},
		},
		{
			name: "file in memory",
			script: `setsid perl -e '$n = "/.vscode-server/x"; $f = syscall($ARGV[0], $n, 0); open(I, "/bin/sleep"); open(O, ">&=", $f);
				local $/; print O <I>; close I; O->flush; exec {"/proc/self/fd/$f"} "sleep", "4208"' $(case $(uname -m) in x86_64) echo 319;; *) echo 279;; esac) &`,
			patterns: []string{"sleep 4208"},
		},
		{
			name: "traced by one",
			script: `cp /usr/bin/perl $V/tracer; setsid sleep 4209 & p=$!
				setsid $V/tracer -e 'syscall($ARGV[0], 0x4206, $ARGV[1] + 0, 0, 0) == 0 or exit 1; sleep 300' \
					$(case $(uname -m) in x86_64) echo 101;; *) echo 117;; esac) $p &
				until grep -q "TracerPid:.*[1-9]" /proc/$p/status; do sleep 0.01; done`,
			patterns: []string{"sleep 4209"},
		},
		{
			name: "group by that name in the user's own tree",
			script: `systemd-run --user --scope -q --unit=slurmstepd.scope -p Delegate=yes sh -c '
					g=/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup); mkdir $g/job_1; echo $$ >$g/job_1/cgroup.procs; exec sleep 4210' &`,
			patterns: []string{"sleep 4210"},
		},
	}
}
