package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

// monotonic is CLOCK_MONOTONIC in nanoseconds: the same in every namespace.
func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

// stampFile is where the PROGRAM of these benchmarks writes its time of start.
const (
	stampFile  = "/home/alice/stamp"
	rivalStamp = "/home/alice/rival"
)

func waitStamp(m *machine.Machine, file string) (stamp int64, err error) {
	err = machine.Until("PROGRAM has run", func() (bool, error) {
		text, _ := os.ReadFile(m.Path(file))
		line, ok := strings.CutSuffix(string(text), "\n")
		if !ok {
			return false, nil
		}
		stamp, err = strconv.ParseInt(line, 10, 64)
		return true, err
	})
	return stamp, errors.Join(err, os.Remove(m.Path(file)))
}

// startRival lets the rival watch the session's display too, and waits until it
// does.
func startRival(m *machine.Machine, s *machine.Session) error {
	const log = "/home/alice/rival.log"
	if err := os.Remove(m.Path(log)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	argv := append(append([]string{rivalProgram}, rivalArgs...), machine.Program, "stamp", rivalStamp)
	if _, err := m.Spawn(s.Socket, log, agent.Request{Argv: argv, UID: -1}); err != nil {
		return err
	}
	return machine.Until("the rival watches", func() (bool, error) {
		text, err := os.ReadFile(m.Path(log))
		return strings.HasPrefix(string(text), "open"), err
	})
}

// watch starts a watcher by hand in a session without the start-up's snippets.
func watch(m *machine.Machine, s *machine.Session, flags ...string) (map[string]string, error) {
	argv := append([]string{"xexit", "watch"}, flags...)
	argv = append(argv, "--", machine.Program, "stamp", stampFile)
	r, err := m.Run(s.Socket, agent.Request{Argv: argv, UID: -1})
	if err == nil && r.Status != 0 {
		err = fmt.Errorf("%v: exit status %d: %s", argv, r.Status, r.Stderr)
	}
	if err != nil {
		return nil, err
	}
	return m.Watched(s)
}

// serverDeath kills the server and compares when PROGRAM starts with when a
// client that does nothing but read sees the end of its connection, with xexit
// and with the rival on the same server. The starting time of PROGRAM itself, a
// Go program of a millisecond, is in both.
func serverDeath(m *machine.Machine, rounds int) ([]row, error) {
	gap := row{what: "server killed: PROGRAM runs, over EOF", unit: "ms", goal: "≤ 5 ms"}
	other := row{what: "server killed: PROGRAM runs, over EOF, C/Xlib", unit: "ms"}
	for i := range rounds {
		server, err := m.Xvfb(fmt.Sprintf("screen%d", i), "alice", false)
		if err != nil {
			return nil, err
		}
		s, err := m.Login(machine.Login{Name: fmt.Sprintf("desk%d", i), User: "alice", Plain: true, Env: server.Env()})
		if err != nil {
			return nil, err
		}
		entry, err := watch(m, s)
		if err != nil {
			return nil, err
		}
		watcher, err := watcherRef(m, entry)
		if err != nil {
			return nil, err
		}
		if err := startRival(m, s); err != nil {
			return nil, err
		}
		conn, err := net.Dial("unix", m.Path("/tmp/.X11-unix/X"+strings.TrimPrefix(server.Display, ":")))
		if err != nil {
			return nil, err
		}
		if err := server.Ref.Signal(unix.SIGKILL); err != nil {
			return nil, err
		}
		_, _ = conn.Read(make([]byte, 1))
		eof := monotonic()
		_ = conn.Close()
		stamp, err := waitStamp(m, stampFile)
		if err != nil {
			return nil, err
		}
		gap.values = append(gap.values, float64(stamp-eof)/1e6)
		if stamp, err = waitStamp(m, rivalStamp); err != nil {
			return nil, err
		}
		other.values = append(other.values, float64(stamp-eof)/1e6)
		if err := s.Leader.Signal(unix.SIGKILL); err != nil {
			return nil, err
		}
		if !watcher.Gone(machine.Guard) {
			return nil, errors.New("hang guard: the watcher has not ended")
		}
	}
	return []row{gap, other}, nil
}

func watcherRef(m *machine.Machine, entry map[string]string) (*machine.Ref, error) {
	number, _, _ := strings.Cut(entry["watcher"], " ")
	pid, err := strconv.Atoi(number)
	if err != nil {
		return nil, err
	}
	return m.RefOf(pid)
}

// watcherMemory is what a watcher has for itself alone (proc(5),
// smaps_rollup), on a host with several: what they share is not counted.
func watcherMemory(m *machine.Machine, rounds int) ([]row, error) {
	uss := row{what: "a watcher's own memory (USS), of several", unit: "kB", goal: "≤ 700 kB"}
	var pids []string
	for i := range rounds + 1 {
		server, err := m.Xvfb(fmt.Sprintf("screen%d", i), "alice", false)
		if err != nil {
			return nil, err
		}
		s, err := m.Login(machine.Login{Name: fmt.Sprintf("desk%d", i), User: "alice", Plain: true, Env: server.Env()})
		if err != nil {
			return nil, err
		}
		entry, err := watch(m, s)
		if err != nil {
			return nil, err
		}
		pid, _, _ := strings.Cut(entry["watcher"], " ")
		pids = append(pids, pid)
	}
	for _, pid := range pids[:rounds] {
		text, err := m.Root("cat", "/proc/"+pid+"/smaps_rollup")
		if err != nil {
			return nil, err
		}
		kB, err := privateOf(text)
		if err != nil {
			return nil, err
		}
		uss.values = append(uss.values, kB)
	}
	return []row{uss}, nil
}

// privateOf adds up the private memory in the text of smaps_rollup, in kB.
func privateOf(text string) (kB float64, err error) {
	for line := range strings.SplitSeq(text, "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(line, "Private_") {
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				return 0, err
			}
			kB += float64(n)
		}
	}
	return kB, nil
}

// cableCut is how long a cable must be out until PROGRAM runs.
func cableCut(m *machine.Machine, rounds int) ([]row, error) {
	kinds := []struct {
		row
		flags []string
	}{
		{row{what: "TCP display cut: decided, default", unit: "s", goal: "≤ 15 s"}, nil},
		{row{what: "TCP display cut: decided, --lost-after 3s", unit: "s", goal: "≤ 4 s"}, []string{"--lost-after", "3s"}},
	}
	var rows []row
	other := row{what: "TCP display cut: decided, C/Xlib, 20 s without an answer", unit: "s"}
	for k, kind := range kinds {
		for i := range rounds {
			name := fmt.Sprintf("far%d%d", k, i)
			server, err := m.Xvfb(name, "alice", true)
			if err != nil {
				return nil, err
			}
			s, err := m.Login(machine.Login{Name: "thin" + name, User: "alice", Plain: true, Env: server.Env()})
			if err != nil {
				return nil, err
			}
			if _, err := watch(m, s, kind.flags...); err != nil {
				return nil, err
			}
			if k == 0 {
				if err := startRival(m, s); err != nil {
					return nil, err
				}
			}
			start := monotonic()
			if err := server.Terminal.Cut(); err != nil {
				return nil, err
			}
			stamp, err := waitStamp(m, stampFile)
			if err == nil && k == 0 {
				var later int64
				later, err = waitStamp(m, rivalStamp)
				other.values = append(other.values, float64(later-start)/float64(time.Second))
			}
			if err := errors.Join(err, server.Terminal.Heal(), s.Leader.Signal(unix.SIGKILL), server.Ref.Signal(unix.SIGKILL)); err != nil {
				return nil, err
			}
			kind.values = append(kind.values, float64(stamp-start)/float64(time.Second))
		}
		rows = append(rows, kind.row)
	}
	return append(rows, other), nil
}
