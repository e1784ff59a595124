package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

// crowdSizes are how many processes there are beside the session's hundred, if
// no more are asked for (-largest). A tenth of them is the same user's.
var crowdSizes = []int{1000, 5000, 20000}

const (
	crowdProgram = "/usr/libexec/xexit-test/crowd" // makes many processes
	floorProgram = "/usr/libexec/xexit-test/floor" // the bare system calls of an end
	memberName   = "member"
)

// contender ends the session of a client.
type contender struct {
	name  string
	plain bool // nothing of xexit's takes part
	argv  func(m *machine.Machine, s *machine.Session, client string) []string
	// took is what it says itself of how long finding and ending took, without
	// its start; nil: nothing.
	took func(out string) (milliseconds float64, err error)
}

var contenders = []contender{
	{
		name: "xexit end",
		argv: func(m *machine.Machine, s *machine.Session, _ string) []string {
			return []string{"xexit", "end", "--json", "--grace", "60s", "--session", m.Registered(s)["id"]} // strace is slow
		},
		took: verifiedIn,
	},
	{
		name: "bare calls in C", plain: true,
		argv: func(_ *machine.Machine, _ *machine.Session, client string) []string {
			return []string{floorProgram, "LTSP_CLIENT_HOSTNAME=" + client}
		},
		took: func(out string) (float64, error) {
			first, _, _ := strings.Cut(out, " ")
			return strconv.ParseFloat(first, 64)
		},
	},
	{
		// By name: pkill knows no sessions. It does not wait either.
		name: "pkill -u, pgrep until none", plain: true,
		argv: func(*machine.Machine, *machine.Session, string) []string {
			return []string{"sh", "-c", `pkill -TERM -u alice -x "$0"; while pgrep -u alice -x "$0" >/dev/null; do :; done`, memberName + "|machine"}
		},
	},
	{
		name: "classic script", plain: true,
		argv: func(*machine.Machine, *machine.Session, string) []string {
			return []string{"/usr/libexec/xexit-test/classic-by-session.sh"}
		},
	},
}

// verifiedIn is what a record says of how long the end took.
func verifiedIn(record string) (milliseconds float64, err error) {
	var r struct {
		Took     float64 `json:"took_ms"`
		Verified bool    `json:"verified"`
	}
	err = json.Unmarshal([]byte(record), &r)
	if err == nil && !r.Verified {
		err = errors.New("no verified end")
	}
	return r.Took, err
}

// scan finds and ends a session's hundred obedient processes among more and
// more others, by each of the contenders, counts the system calls of the two
// that can be compared by them, and has root end a login among the same others.
func scan(t *tools, rounds int) (rows []row, err error) {
	sizes := slices.DeleteFunc(slices.Clone(crowdSizes), func(size int) bool { return size > t.largest })
	if t.largest > crowdSizes[len(crowdSizes)-1] {
		sizes = append(sizes, t.largest)
		restore, failed := numbersFor(t.largest)
		if failed != nil {
			return nil, failed
		}
		defer func() { err = errors.Join(err, restore()) }()
	}
	for _, size := range sizes {
		if why := noRoomFor(size); why != nil {
			fmt.Fprintf(os.Stderr, "bench: not among %d: %v\n", size, why)
			continue
		}
		more, err := inMachine(func(m *machine.Machine, rounds int) ([]row, error) {
			if err := surround(m, size); err != nil {
				return nil, err
			}
			rows, err := scanAmong(m, size, rounds)
			if err != nil {
				return nil, err
			}
			more, err := loginEndAmong(m, size, rounds)
			return append(rows, more...), err
		})(t, rounds)
		if err != nil {
			return rows, fmt.Errorf("among %d: %w", size, err)
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

func scanAmong(m *machine.Machine, size, rounds int) (rows []row, err error) {
	whole, own := make([]row, len(contenders)), make([]row, len(contenders))
	for i := range rounds {
		for k := range contenders {
			if i%2 == 1 && k < 2 { // the two that are compared closely take turns
				k = 1 - k
			}
			c := &contenders[k]
			took, out, err := c.end(m, fmt.Sprintf("s%d-%d", k, i), nil)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			whole[k].values = append(whole[k].values, ms(took))
			if c.took == nil {
				continue
			}
			inside, err := c.took(out)
			if err != nil {
				return nil, fmt.Errorf("%s: %w: %s", c.name, err, out)
			}
			own[k].values = append(own[k].values, inside)
		}
	}
	among := fmt.Sprintf("100 obedient among %d ended, verified: ", size)
	ratio := row{what: among + "xexit end / bare calls in C, by their own clocks", unit: "×", goal: "≤ 1.2 ×"}
	for i := range own[0].values {
		ratio.values = append(ratio.values, own[0].values[i]/own[1].values[i])
	}
	for k, c := range contenders {
		if own[k].values != nil {
			own[k].what, own[k].unit = among+c.name+", by its own clock", "ms"
			rows = append(rows, own[k])
		}
		whole[k].what, whole[k].unit = among+c.name+", the whole command", "ms"
		rows = append(rows, whole[k])
	}
	rows = append(rows, ratio)
	calls, err := callsAmong(m, among)
	return append(rows, calls...), err
}

// compared are the system calls of finding and ending; what else a program
// does, it does for other reasons.
var compared = []string{
	"getdents64", "lseek", "kill", "newfstatat", "openat", "read", "close",
	"pidfd_open", "pidfd_send_signal", "epoll_ctl",
}

// callsAmong counts the system calls of the first two contenders.
func callsAmong(m *machine.Machine, among string) (rows []row, err error) {
	for k := range contenders[:2] {
		c := &contenders[k]
		file := fmt.Sprintf("/run/scenario/calls%d", k)
		_, _, err := c.end(m, fmt.Sprintf("n%d", k), []string{"strace", "-u", "alice", "-f", "--seccomp-bpf", "-e", "trace=" + strings.Join(compared, ","), "-c", "-o", file})
		if err != nil {
			return nil, fmt.Errorf("%s, traced: %w", c.name, err)
		}
		text, err := os.ReadFile(m.Path(file))
		if err != nil {
			return nil, err
		}
		calls := parseCalls(string(text))
		total := 0
		for _, name := range compared {
			total += calls[name]
		}
		fmt.Fprintf(os.Stderr, "%s%s: %s\n", among, c.name, describe(calls))
		rows = append(rows, row{what: among + c.name + ", its calls for that", unit: "calls", values: []float64{float64(total)}})
	}
	return rows, nil
}

// parseCalls reads the table of strace -c: share, seconds, µs a call, calls,
// errors if any, name.
func parseCalls(table string) map[string]int {
	calls := map[string]int{}
	for line := range strings.SplitSeq(table, "\n") {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		if n, err := strconv.Atoi(fields[3]); err == nil && fields[len(fields)-1] != "total" {
			calls[fields[len(fields)-1]] += n
		}
	}
	return calls
}

func describe(calls map[string]int) string {
	names := slices.Collect(maps.Keys(calls))
	slices.SortFunc(names, func(a, b string) int { return calls[b] - calls[a] })
	var out []string
	for _, name := range names {
		if calls[name] >= 50 {
			out = append(out, fmt.Sprintf("%s %d", name, calls[name]))
		}
	}
	return strings.Join(out, ", ")
}

// end fills a session, times the command that empties it, from its start to
// its exit, and sees for itself that all are gone. before: a program that runs
// the command; it is root's, so that it is not ended with the session.
func (c *contender) end(m *machine.Machine, client string, before []string) (took time.Duration, out string, err error) {
	server, err := m.Xvfb(client, "alice", false)
	if err != nil {
		return 0, "", err
	}
	env := append(server.Env(), "LTSP_CLIENT_HOSTNAME="+client)
	s, err := m.Login(machine.Login{Name: "desk" + client, User: "alice", Env: env, Plain: c.plain})
	if err != nil {
		return 0, "", err
	}
	if !c.plain {
		if _, err := m.Watched(s); err != nil {
			return 0, "", err
		}
	}
	// The session's first program, and the rest.
	ready := "/run/scenario/ready-" + client
	if _, err := m.Spawn(s.Socket, "", agent.Request{
		Argv: []string{crowdProgram, memberName, ready, strconv.Itoa(members - 2), "-1"}, UID: -1,
	}); err != nil {
		return 0, "", err
	}
	if err := m.WaitFile(ready); err != nil {
		return 0, "", err
	}
	request := agent.Request{Argv: append(before, c.argv(m, s, client)...), Env: machine.UserEnv("alice"), Add: env, UID: machine.Users["alice"]}
	if before != nil {
		request.UID = 0
	}
	start := time.Now()
	r, err := m.Run(machine.RootSocket, request)
	took = time.Since(start)
	if err == nil && r.Status != 0 {
		err = fmt.Errorf("%v: exit status %d: %s", request.Argv, r.Status, r.Stderr)
	}
	if err != nil {
		return 0, "", err
	}
	left, err := m.Root(crowdProgram, "count", memberName)
	if err != nil {
		return 0, "", err
	}
	if strings.TrimSpace(left) != "0" || !s.Leader.Gone(0) {
		return 0, "", fmt.Errorf("%v ended, and %s processes still run", request.Argv, strings.TrimSpace(left))
	}
	return took, r.Stdout, server.Ref.Signal(unix.SIGKILL)
}
