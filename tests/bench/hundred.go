package main

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

const (
	members = 100
	others  = 1000 // of which a tenth is the same user's
	// How long they would sleep tells them apart.
	memberSleep = "31536001"
	otherSleep  = "31536002"
)

// hundred ends a session's hundred obedient processes among a thousand others,
// a tenth of them the same user's, once by xexit and once by the script that
// sites have long used, and sees for itself that all are gone.
func hundred(m *machine.Machine, rounds int) ([]row, error) {
	// The rival runs no exit scripts.
	if _, err := m.Root("sh", "-c", "rm -f /etc/Xexit.d/*"); err != nil {
		return nil, err
	}
	for user, count := range map[string]int{"alice": others / 10, "bob": others * 9 / 10} {
		if _, err := m.Spawn(machine.RootSocket, "", agent.Request{
			Argv: []string{"sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do sleep %s & i=$((i+1)); done; wait", count-1, otherSleep)},
			Env:  machine.UserEnv(user), UID: machine.Users[user], NewSession: true,
		}); err != nil {
			return nil, err
		}
	}
	if err := countSleep(m, otherSleep, others-2); err != nil {
		return nil, err
	}
	const among = "100 obedient among 1000 ended, verified: "
	verified := row{what: among + "xexit end, by its record", unit: "ms", goal: "≤ 40 ms"}
	ours := row{what: among + "xexit end, the whole command", unit: "ms"}
	classic := row{what: among + "classic script", unit: "ms"}
	ratio := row{what: "classic script / xexit end", unit: "×", goal: "≥ 50 ×"}
	for i := range rounds {
		a, out, err := endHundred(m, fmt.Sprintf("x%d", i), false, func(s *machine.Session, env []string) agent.Request {
			entry := m.Registered(s)
			return agent.Request{Argv: []string{"xexit", "end", "--json", "--session", entry["id"]}, Env: machine.UserEnv("alice"), Add: env, UID: machine.Users["alice"]}
		})
		if err != nil {
			return nil, err
		}
		took, err := verifiedIn(out)
		if err != nil {
			return nil, fmt.Errorf("%w: %s", err, out)
		}
		verified.values = append(verified.values, took)
		b, _, err := endHundred(m, fmt.Sprintf("c%d", i), true, func(_ *machine.Session, env []string) agent.Request {
			return agent.Request{Argv: []string{"/usr/libexec/xexit-test/classic-by-session.sh"}, Env: machine.UserEnv("alice"), Add: env, UID: machine.Users["alice"]}
		})
		if err != nil {
			return nil, err
		}
		ours.values, classic.values = append(ours.values, ms(a)), append(classic.values, ms(b))
		ratio.values = append(ratio.values, ms(b)/ms(a))
	}
	return []row{verified, ours, classic, ratio}, nil
}

// countSleep waits until so many processes sleep for that long.
func countSleep(m *machine.Machine, seconds string, want int) error {
	return machine.Until(fmt.Sprintf("%d sleep %s s", want, seconds), func() (bool, error) {
		out, err := m.Root("sh", "-c", "pgrep -c -x -f 'sleep "+seconds+"'; true")
		return strings.TrimSpace(out) == fmt.Sprint(want), err
	})
}

// endHundred fills a session and times a command that empties it, from its
// start to its exit. plain: nothing of xexit's takes part.
func endHundred(m *machine.Machine, name string, plain bool, ending func(*machine.Session, []string) agent.Request) (took time.Duration, out string, err error) {
	server, err := m.Xvfb(name, "alice", false)
	if err != nil {
		return 0, "", err
	}
	env := append(server.Env(), "LTSP_CLIENT_HOSTNAME="+name)
	s, err := m.Login(machine.Login{Name: "desk" + name, User: "alice", Env: env, Plain: plain})
	if err != nil {
		return 0, "", err
	}
	if !plain {
		if _, err := m.Watched(s); err != nil {
			return 0, "", err
		}
	}
	// The session's first program, a shell, and the rest.
	if _, err := m.Spawn(s.Socket, "", agent.Request{
		Argv: []string{"sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do sleep %s & i=$((i+1)); done; wait", members-2, memberSleep)}, UID: -1,
	}); err != nil {
		return 0, "", err
	}
	if err := countSleep(m, memberSleep, members-2); err != nil {
		return 0, "", err
	}
	request := ending(s, env)
	start := time.Now()
	r, err := m.Run(machine.RootSocket, request)
	took = time.Since(start)
	if err == nil && r.Status != 0 {
		err = fmt.Errorf("%v: exit status %d: %s", request.Argv, r.Status, r.Stderr)
	}
	if err != nil {
		return 0, "", err
	}
	left, err := m.Root("sh", "-c", "pgrep -c -x -f 'sleep "+memberSleep+"'; true")
	if err != nil {
		return 0, "", err
	}
	if strings.TrimSpace(left) != "0" || !s.Leader.Gone(0) {
		return 0, "", fmt.Errorf("%v ended, and %s processes still run", request.Argv, strings.TrimSpace(left))
	}
	return took, r.Stdout, server.Ref.Signal(unix.SIGKILL)
}
