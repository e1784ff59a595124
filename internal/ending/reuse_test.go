package ending

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"xexit/internal/member"
	"xexit/internal/proc"
	"xexit/internal/reap"
	"xexit/internal/registry"
	"xexit/internal/session"
)

// reuseTrials, in the environment, starts the trials of TestReuse as the first
// process of a pid namespace: that many. Set for the test itself it asks for
// more than the usual number.
const (
	reuseTrials = "XEXIT_REUSES"
	reuseInside = "XEXIT_REUSE_INSIDE"
	// reuseUser is nobody.
	reuseUser = 24989
	// reusePIDs is how many numbers there are, where they are the namespace's own.
	reusePIDs = "400"
	// reuseHang bounds one trial.
	reuseHang = 60 * time.Second
)

func TestMain(m *testing.M) {
	if os.Getenv(reuseInside) == "" {
		status := m.Run()
		_ = os.RemoveAll(built)
		os.Exit(status)
	}
	if err := reuseMain(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// moment is when in the course of an end the process dies and an innocent one
// is given its number.
type moment string

const (
	whileLooking moment = "while it is looked for"
	beforeTerm   moment = "found, before TERM"
	afterGrace   moment = "asked, at the end of the grace"
	beforeStop   moment = "before STOP"
	beforeKill   moment = "before KILL"
)

var moments = []moment{whileLooking, beforeTerm, afterGrace, beforeStop, beforeKill}

// reuseCount is what came of the trials at one moment.
type reuseCount struct {
	Trials   int
	Found    int // xexit had a reference to the process that died
	ByXexit  int // innocents that were signalled by it
	ByNumber int // and by a script that knew the same number
}

// TestReuse: a process dies in the course of an end and its number is given to
// a process that has nothing to do with the session. xexit never signals that
// one, whenever it happens. Whoever signals by number does.
//
// The numbers are those of a pid namespace, where the next one can be chosen
// (ns_last_pid, proc(5)), so that each trial is a reuse.
func TestReuse(t *testing.T) {
	cannot := func(why string) {
		if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	if os.Geteuid() != 0 {
		cannot("a pid namespace and another user's processes need root")
	}
	if _, err := os.Stat("/proc/sys/kernel/ns_last_pid"); err != nil {
		cannot("the next process number cannot be chosen: " + err.Error())
	}
	trials := 500
	if text := os.Getenv(reuseTrials); text != "" {
		var err error
		if trials, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	most, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), reuseInside+"="+strings.TrimSpace(string(most)), reuseTrials+"="+strconv.Itoa(trials))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // whose death Pdeathsig means
	defer runtime.UnlockOSThread()
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[moment]*reuseCount{}
	if err := json.Unmarshal(out, &counts); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	total := 0
	for _, m := range moments {
		c := counts[m]
		t.Logf("%-32s %d trials (found in %d), innocents signalled: by xexit %d, by number %d", m, c.Trials, c.Found, c.ByXexit, c.ByNumber)
		if c.ByXexit > 0 {
			t.Errorf("%s: xexit signalled %d innocents", m, c.ByXexit)
		}
		if c.ByNumber != c.Trials {
			t.Errorf("%s: signals by number reached %d of %d innocents; the trials prove nothing", m, c.ByNumber, c.Trials)
		}
		// A look may miss one of two, and the next one finds it.
		if m != whileLooking && c.Found < c.Trials*9/10 {
			t.Errorf("%s: only %d of %d were found before", m, c.Found, c.Trials)
		}
		total += c.Trials
	}
	if total != trials {
		t.Errorf("%d trials, want %d", total, trials)
	}
	if after, err := os.ReadFile("/proc/sys/kernel/pid_max"); err != nil || string(after) != string(most) {
		t.Errorf("pid_max of the host was %s and is %s, %v", most, after, err)
	}
}

// reuseMain runs the trials and writes the counts.
func reuseMain() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// Since kernel 6.14 a pid namespace has a pid_max of its own. That it is
	// another one than the host's is proof of it.
	most, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err == nil && strings.TrimSpace(string(most)) != os.Getenv(reuseInside) {
		err = os.WriteFile("/proc/sys/kernel/pid_max", []byte(reusePIDs), 0)
	}
	if err != nil {
		return err
	}
	trials, err := strconv.Atoi(os.Getenv(reuseTrials))
	if err != nil {
		return err
	}
	killer, err := newNumberKiller()
	if err != nil {
		return err
	}
	fs, err := proc.New("/proc")
	if err != nil {
		return err
	}
	counts := map[moment]*reuseCount{}
	for _, m := range moments {
		counts[m] = &reuseCount{}
	}
	for i := range trials {
		m := moments[i%len(moments)]
		if err := (&reuseTrial{fs: fs, moment: m, count: counts[m]}).run(killer); err != nil {
			return fmt.Errorf("trial %d, %s: %w", i, m, err)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(counts)
}

// reuseTrial is an end of a session of two processes, one of which dies.
type reuseTrial struct {
	fs     *proc.FS
	moment moment
	count  *reuseCount

	stays, dies *exec.Cmd
	innocent    *exec.Cmd // has the number of the one that died
	found       bool
	staying     int // their numbers
	dying       int
	replacing   chan error // the replacement that goes on beside a look
}

func (r *reuseTrial) run(killer *numberKiller) (err error) {
	id := session.ID(fmt.Sprintf("11111111-1111-4111-8111-%012x", rand.Uint64N(1<<48)))
	marker := session.MarkerName + "=" + string(id)
	deaf := r.moment == afterGrace || r.moment == beforeStop || r.moment == beforeKill
	if r.stays, err = reuseStart(marker, deaf); err != nil {
		return err
	}
	defer reuseEnd(r.stays)
	if r.dies, err = reuseStart(marker, deaf); err != nil {
		return err
	}
	if r.dies.Process.Pid < r.stays.Process.Pid { // the numbers wrapped; the first found is to be the one that stays
		r.stays, r.dies = r.dies, r.stays
	}
	// Their handles forget the numbers when they are released, beside a look.
	r.staying, r.dying = r.stays.Process.Pid, r.dies.Process.Pid
	if err := r.end(id); err != nil {
		return err
	}
	if r.innocent == nil {
		return errors.New("the moment never came")
	}
	defer reuseEnd(r.innocent)
	r.count.Trials++
	if r.found {
		r.count.Found++
	}
	number := r.innocent.Process.Pid
	pending, err := reusePending(number)
	if err != nil {
		return err
	}
	by, err := reuseFate(number, syscall.WNOHANG|syscall.WUNTRACED)
	if err != nil || by != 0 || pending {
		r.count.ByXexit++
		return err
	}
	if status, err := killer.kill(number); err != nil || status != "0" {
		return err
	}
	// An earlier signal that ends it is what the kernel tells of.
	switch by, err = reuseFate(number, syscall.WUNTRACED); by {
	case numberSignal:
		r.count.ByNumber++
	default:
		r.count.ByXexit++
	}
	return err
}

// end ends the session as `xexit end` does, and replaces the process at the
// moment.
func (r *reuseTrial) end(id session.ID) error {
	bound := member.Bound{UID: reuseUser}
	entry := registry.Entry{ID: id, Marked: true, Audit: session.NoAudit, UID: reuseUser}
	t := &target{
		entry: entry, fs: r.fs, bound: bound,
		others: func() ([]registry.Entry, error) { return nil, nil },
		finder: member.NewFinder(r.fs, member.Target{Entry: entry, Bound: bound}),
	}
	defer t.finder.Close()
	var failed error
	l := newLooker(t, session.ReasonRequested)
	ctx, cancel := context.WithTimeout(context.Background(), reuseHang)
	defer cancel()
	report, err := reap.Run(ctx, r.fs, l, l.inBound, reap.Options{
		Grace:  time.Millisecond,
		Events: func(e reap.Event) { failed = errors.Join(failed, r.event(e)) },
	})
	if r.replacing != nil {
		failed = errors.Join(failed, <-r.replacing)
	}
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	for _, o := range report.Processes {
		if o.ID.PID == r.staying && o.How != reap.HowSurvived {
			return nil
		}
	}
	return fmt.Errorf("the session's other process %d was not ended: %+v", r.staying, report)
}

// event has the moment come.
func (r *reuseTrial) event(e reap.Event) error {
	if e.Kind == reap.KindFound && e.ID.PID == r.dying {
		r.found = true
	}
	if r.replacing != nil || r.innocent != nil {
		return nil
	}
	now := false
	switch first := e.Kind == reap.KindSignal && e.ID.PID == r.staying; r.moment {
	case whileLooking:
		if e.Kind == reap.KindLook {
			// Somewhere in the time that a look takes, or a little later.
			delay := time.Duration(rand.Int64N(int64(time.Millisecond)))
			r.replacing = make(chan error, 1)
			go func() {
				<-time.After(delay)
				r.replacing <- r.replace()
			}()
		}
	case afterGrace:
		now = e.Kind == reap.KindGrace
	case beforeTerm:
		now = first && e.Signal == "TERM"
	case beforeStop:
		now = first && e.Signal == "STOP"
	case beforeKill:
		now = first && e.Signal == "KILL"
	}
	if !now {
		return nil
	}
	return r.replace()
}

// replace ends the process and gives its number to an innocent one.
func (r *reuseTrial) replace() error {
	number := r.dies.Process.Pid
	reuseEnd(r.dies)
	// A thread of this program may be born in between and take the number's
	// place in the line, or the number itself; then once more.
	for range 1000 {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(number-1)), 0); err != nil {
			return err
		}
		c, err := reuseStart("", false)
		if err != nil {
			return err
		}
		if c.Process.Pid == number {
			r.innocent = c
			return nil
		}
		reuseEnd(c)
	}
	return fmt.Errorf("number %d is not to be had", number)
}
