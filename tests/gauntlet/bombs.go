package gauntlet

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

// bombGrace is xexit's grace where it ends a bomb. Its times do not contain it.
const bombGrace = 100 * time.Millisecond

// bombCalm is how long nobody of a bomb must be seen: between two generations
// there may be nobody to see. A bomb's slowest chain has one each 50 ms.
const bombCalm = 100 * time.Millisecond

// bombPause is between two looks at who is left of a bomb.
const bombPause = 10 * time.Millisecond

// StageBombs is Stage with the grace that the bombs are given.
func StageBombs(repository, dir string) error {
	if err := Stage(repository, dir); err != nil {
		return err
	}
	return os.WriteFile(dir+"/etc/xexit/xexit.toml", []byte("grace = \""+bombGrace.String()+"\"\n"), 0o644)
}

const floorName = "floor"

// Bombers are what is to end a bomb. The rivals have three seconds, and the
// classic script what it sleeps besides.
func Bombers() []Ender {
	const patience = 500 * time.Millisecond
	return []Ender{
		{
			Name: floorName, What: "echo 1 >cgroup.kill", Position: Nowhere, Patience: 10 * time.Second,
			End: func(t *trial) (int, string, error) {
				<-time.After(bombGrace) // the bomb is as far gone then as for xexit
				t.began = time.Now()
				err := os.WriteFile(t.a.inside(t.a.scope(t.id))+"/cgroup.kill", []byte("1"), 0)
				if err == nil {
					t.died, err = t.a.deserted(t.a.scope(t.id))
				}
				return 0, "", err
			},
		},
		{
			Name: "xexit, as root", What: "xexit end --session LOGIN --grace " + bombGrace.String(), Position: Root, Patience: patience,
			End: func(t *trial) (int, string, error) {
				return t.root("xexit", "end", "--session", t.id, "--grace", bombGrace.String(), "--json")
			},
		},
		{
			Name: "xexit session", What: "xexit session --no-display -- CMD, and CMD exits", Position: Below, Patience: patience,
			End: func(t *trial) (int, string, error) { return t.atExit() },
		},
		{
			Name: "xexit, user mode", What: "90xexit, and the X server is killed", Position: User, Patience: patience,
			End: func(t *trial) (int, string, error) { return t.atDisplayLost() },
		},
		{
			Name: "pkill loop", What: "while pkill -KILL -u alice; do :; done", Position: Nowhere, Patience: patience,
			End: func(t *trial) (int, string, error) {
				return t.root("timeout", "-s", "KILL", "3", "sh", "-c", "while pkill -KILL -u alice; do :; done")
			},
		},
		{
			Name: "classic script", What: "search environments for the client, CONT, TERM, 3 s, KILL", Position: Nowhere, Patience: patience,
			End: func(t *trial) (int, string, error) {
				return t.run(machine.RootSocket, agent.Request{
					Argv: []string{"timeout", "-s", "KILL", "6", "/usr/libexec/xexit-test/classic-by-session.sh"}, UID: machine.Users["alice"],
					Env: append(machine.UserEnv("alice"), client),
				})
			},
		},
	}
}

// xexit reports whether an Ender is ours.
func (e *Ender) xexit() bool { return e.Position != Nowhere }

// share is how many runs xexit has for one of this Ender's.
func (e *Ender) share() int {
	switch {
	case e.xexit():
		return 1
	case e.Name == floorName:
		return floorShare
	}
	return rivalShare
}

// BombRow is what came of the runs of one bomb against one Ender.
type BombRow struct {
	Bomb, Ender string
	Churn       bool // another user started 200 processes a second meanwhile
	Runs        int
	Took        []time.Duration // of the runs after which nobody was left
	Whole       []time.Duration // of the same, from the command or the event on
	Wrong       []string        // of xexit's: what was left, or not verified
}

// A rival, which needs seconds and mostly fails, has one run where xexit has
// rivalShare; the floor, of which the median alone is asked, one of floorShare.
const (
	rivalShare = 20
	floorShare = 4
)

// Bombs runs the bombs against the Enders: rounds times against xexit, fewer
// times against the floor and the rivals. With and without churn.
func Bombs(stage string, rounds int, ways []Way, enders []Ender, told func(BombRow)) (rows []BombRow, err error) {
	a, err := newBombArena(stage)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	for _, churn := range []bool{false, true} {
		calm, err := a.churn(churn)
		if err != nil {
			return rows, err
		}
		for _, way := range ways {
			of, err := a.compare(way, enders, churn, rounds)
			for _, row := range of {
				told(row)
			}
			if rows = append(rows, of...); err != nil {
				return rows, err
			}
		}
		if err := calm(); err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// compare has each Ender end a bomb, in turns, so that what else the machine does
// at the time counts for all of them.
func (a *bombArena) compare(way Way, enders []Ender, churn bool, rounds int) ([]BombRow, error) {
	rows := make([]BombRow, len(enders))
	for i, e := range enders {
		rows[i] = BombRow{Bomb: strings.TrimPrefix(way.Name, "bomb: "), Ender: e.Name, Churn: churn, Runs: rounds}
		rows[i].Runs = (rounds + e.share() - 1) / e.share()
	}
	for round := range rounds {
		for i, e := range enders {
			if round%e.share() != 0 {
				continue
			}
			if err := a.run(way, e, &rows[i]); err != nil {
				return rows, fmt.Errorf("%s, %s: %w", way.Name, e.Name, err)
			}
		}
	}
	return rows, nil
}

// bombArena is an Arena with nobody beside a run. Sessions within a login share
// one, which is what takes long to make.
type bombArena struct {
	*Arena
	shared   *machine.Session // nil: to be made
	sharedID string
}

func newBombArena(stage string) (*bombArena, error) {
	m, err := machine.Boot(stage)
	if err != nil {
		return nil, err
	}
	a := &bombArena{Arena: &Arena{m: m}}
	// With his service manager there all the time a login takes less.
	if _, err := m.Root("sh", "-ec", "loginctl enable-linger alice; "+onlyOurs); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// churn has another user start 200 processes a second, for an hour at most.
func (a *Arena) churn(on bool) (calm func() error, err error) {
	if !on {
		return func() error { return nil }, nil
	}
	const loop = `while :; do sleep 0.00397; done`
	if err := a.sh(nil, `setsid timeout 3600 setpriv --reuid 21002 --regid 21002 --clear-groups sh -c '`+loop+`' >/dev/null 2>&1 </dev/null &`); err != nil {
		return nil, err
	}
	var ref *machine.Ref
	err = machine.Until("the churn has begun", func() (bool, error) {
		out, err := a.m.Run(machine.RootSocket, agent.Request{Argv: []string{"pgrep", "-u", "bob", "-x", "sh"}, Env: machine.RootEnv(), UID: -1})
		if err != nil || out.Status != 0 {
			return false, err
		}
		var pid int
		if _, err := fmt.Sscan(out.Stdout, &pid); err != nil {
			return false, err
		}
		ref, err = a.m.RefOf(pid)
		return err == nil, err
	})
	return func() error { return ref.Signal(unix.SIGKILL) }, err
}

// errDud: a bomb that had gone out before anybody was to end it proves nothing.
var errDud = errors.New("the bomb has no process any more")

// run is one run.
func (a *bombArena) run(way Way, e Ender, row *BombRow) (err error) {
	t := &trial{a: a.Arena, way: way, name: fmt.Sprintf("t%d", a.count.Add(1)), own: map[string][]*machine.Ref{}}
	if err := a.open(t, e); err != nil {
		return fmt.Errorf("open the session: %w", err)
	}
	if err := t.start(); err != nil {
		return errors.Join(err, a.clear(t, true))
	}
	if len(t.alive()) == 0 {
		return errors.Join(errDud, a.clear(t, true))
	}
	begin := time.Now()
	done, over := make(chan struct{}), make(chan time.Time, 1)
	go func() { over <- t.emptied(done) }()
	status, text, err := e.End(t)
	if err != nil {
		close(done)
		return errors.Join(err, a.clear(t, true))
	}
	var took, whole time.Duration
	limit := time.NewTimer(e.Patience + bombCalm)
	defer limit.Stop()
	select {
	case at := <-over:
		took = at.Sub(begin)
		whole = took
	case <-limit.C:
	}
	close(done)
	if !t.died.IsZero() {
		took = t.died.Sub(t.began)
	}
	pids := t.alive()
	left := len(pids)
	defer func() { err = errors.Join(err, a.clear(t, left > 0 || !e.Position.inside())) }()
	if e.xexit() {
		after, verified := lastDeath(text)
		took = after - bombGrace
		if left > 0 || status != 0 || !verified {
			who := ""
			for _, pid := range pids[:min(3, left)] {
				who += t.describe(pid) + ", "
			}
			row.Wrong = append(row.Wrong, fmt.Sprintf("%d left: %sexit status %d, verified %v: %s", left, who, status, verified, short(text)))
			return nil
		}
	}
	if left == 0 {
		row.Took, row.Whole = append(row.Took, took), append(row.Whole, whole)
	}
	return nil
}

// open opens a session in a login of its own, or one within the shared login.
func (a *bombArena) open(t *trial, e Ender) (err error) {
	if !e.Position.inside() {
		if t.login, err = a.m.SSHPlain(t.name, "alice", client); err != nil {
			return err
		}
		t.in = t.login
		if t.id, err = a.m.LoginID(t.login); err != nil {
			return err
		}
		return t.still()
	}
	if a.shared == nil || !a.shared.Leader.Alive() { // the loop of pkill spares nobody
		if a.shared, err = a.m.SSHPlain(t.name, "alice", client); err != nil {
			return err
		}
		if a.sharedID, err = a.m.LoginID(a.shared); err != nil {
			return err
		}
	}
	t.login, t.id = a.shared, a.sharedID
	if err := t.within(e.Position); err != nil {
		return err
	}
	return t.still()
}

// deserted waits until the kernel says that all in a control group are dead: its
// list leaves them out as soon as they begin to die, which is long before.
func (a *Arena) deserted(group string) (time.Time, error) {
	f, err := os.Open(a.inside(group) + "/cgroup.events")
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	text := make([]byte, 256)
	for {
		n, err := f.ReadAt(text, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			if errors.Is(err, unix.ENODEV) { // removed, as only an empty one is
				return time.Now(), nil
			}
			return time.Time{}, err
		}
		if strings.Contains(string(text[:n]), "populated 0") {
			return time.Now(), nil
		}
		// Each change is told of (cgroups(7)), but for the removal.
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}}, 100); err != nil && !errors.Is(err, unix.EINTR) {
			return time.Time{}, err
		}
	}
}

// clear ends what a run has left, and the login if that was its own or may have
// come to harm.
func (a *bombArena) clear(t *trial, login bool) error {
	if !login {
		return nil
	}
	if t.login == a.shared {
		a.shared = nil
	}
	return t.clear()
}

func short(text string) string { return text[max(0, len(text)-300):] }

// lastDeath is when the last process died, by the record of an end or a list
// of records, and whether it is verified that nobody is left.
func lastDeath(text string) (after time.Duration, verified bool) {
	type record struct {
		Verified  bool
		Processes []struct {
			After float64 `json:"after_ms"`
		}
	}
	first := func(into any) error { // what else was said follows
		return json.NewDecoder(strings.NewReader(text)).Decode(into)
	}
	var records []record
	if first(&records) != nil {
		records = make([]record, 1)
		if first(&records[0]) != nil {
			return 0, false
		}
	}
	for _, r := range records {
		verified = r.Verified
		for _, p := range r.Processes {
			after = max(after, time.Duration(p.After*float64(time.Millisecond)))
		}
	}
	return after, verified
}

// WriteBombs writes the table.
func WriteBombs(w io.Writer, rows []BombRow) {
	for _, churn := range []bool{false, true} {
		title := "Nobody else is busy"
		if churn {
			title = "Another user starts 200 processes a second"
		}
		fmt.Fprintf(w, "\n## %s\n\n| bomb | ended by | runs | converged | median | worst | median / floor | whole, median | whole, worst |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n", title)
		var floor time.Duration
		for _, r := range rows {
			if r.Churn != churn {
				continue
			}
			median, times := middleAndWorst(r.Took)
			_, whole := middleAndWorst(r.Whole)
			if r.Ender == floorName {
				floor = median
			}
			ratio := ""
			if floor > 0 && median > 0 {
				ratio = fmt.Sprintf("%.1f", float64(median)/float64(floor))
			}
			fmt.Fprintf(w, "| %s | %s | %d | %d | %s | %s | %s |\n", r.Bomb, r.Ender, r.Runs, len(r.Took), times, ratio, whole)
		}
	}
}

// middleAndWorst sorts the times and returns the two as cells of a table.
func middleAndWorst(times []time.Duration) (middle time.Duration, cells string) {
	n := len(times)
	if n == 0 {
		return 0, "never | "
	}
	slices.SortFunc(times, cmp.Compare[time.Duration])
	return times[n/2], millis(times[n/2]) + " | " + millis(times[n-1])
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
}
