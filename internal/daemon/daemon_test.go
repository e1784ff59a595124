package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"xexit/internal/ipc"
	"xexit/internal/linux"
	"xexit/internal/login"
	"xexit/internal/member"
	"xexit/internal/session"
)

// TestLogout: a login is taken on, its leader exits, its end is carried out
// with all that is needed, and it is forgotten with the source.
func TestLogout(t *testing.T) {
	b := newBench(t)
	b.run()
	leader := b.open("4", "alice")
	born, err := linux.Birth(leader.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	b.end(leader)
	b.awaitPhase("4", login.Done)
	asked := b.asked("4")
	if len(asked) != 1 {
		t.Fatalf("asked %d times", len(asked))
	}
	r := asked[0]
	if r.V != 1 || r.Login != "4" || r.User != "alice" || r.UID != ordinary() || r.Audit != 17 || r.Scope != "session-4.scope" ||
		r.Cgroup != fmt.Sprintf("/user.slice/user-%d.slice/session-4.scope", ordinary()) || r.Type != "tty" || r.Service != "sshd" {
		t.Errorf("request %+v", r)
	}
	if want := (session.ProcID{PID: leader.Process.Pid, Start: born}); r.Leader != want {
		t.Errorf("leader %v, want %v", r.Leader, want)
	}
	if r.Reason != session.ReasonLogout || r.Noticed == "" || r.Record == "" || r.AuditOnly || r.Config == nil {
		t.Errorf("request %+v", r)
	}
	// logind says closing, and at last nothing.
	closing := b.login("4", "alice", 0)
	closing.State = "closing"
	b.source.set("4", closing)
	b.source.set("4", nil)
	b.awaitPhase("4", "")
	if len(b.asked("4")) != 1 {
		t.Error("ended twice")
	}
}

// TestTakenOn: what is no ordinary user's login of a type that is named is left
// alone, also when it is over; what was there before is not.
func TestTakenOn(t *testing.T) {
	b := newBench(t)
	over := func(change func(*member.Login)) *member.Login {
		l := b.login("", "alice", 0)
		l.State = "closing"
		change(l)
		return l
	}
	for id, l := range map[string]*member.Login{
		"1": over(func(l *member.Login) { l.UID = 0 }),
		"2": over(func(l *member.Login) { l.Class = "manager" }),
		"3": over(func(l *member.Login) { l.Service = "login" }),
		"4": over(func(l *member.Login) { l.Class = "greeter" }),
		"5": over(func(l *member.Login) { l.UID = 65534 }),
		"6": over(func(*member.Login) {}),
	} {
		l.ID = id
		b.source.set(id, l)
	}
	b.run()
	b.awaitPhase("6", login.Done)
	for id := range 6 {
		if id := fmt.Sprint(id); b.phase(id) != "" || len(b.asked(id)) > 0 {
			t.Errorf("login %s was taken on", id)
		}
	}
}

// TestDoubtful: a login from elsewhere that logind takes for a background job
// is left alone, which is said of it for as long as it is there; a job that is
// nobody's from elsewhere is nothing to speak of.
func TestDoubtful(t *testing.T) {
	b := newBench(t)
	d := b.run()
	const key = "login.background"
	text := func() string {
		for _, c := range (handler{d}).Status().Conflicts {
			if c.Key == key {
				return c.Text
			}
		}
		return ""
	}
	job := b.login("1", "alice", 0)
	job.Class, job.Type, job.Service, job.State = "background", "unspecified", "crond", "closing"
	from := b.login("2", "alice", 0)
	from.Class, from.Type, from.Service, from.State, from.Remote = "background", "unspecified", "xdm", "closing", true
	b.source.set("1", job)
	b.source.set("2", from)
	b.until("it is said", func() bool { return text() != "" })
	if got := text(); !strings.Contains(got, "2 of alice (xdm)") || strings.Contains(got, "crond") {
		t.Errorf("%q", got)
	}
	if !b.logged("pam_systemd.so class=user type=x11") {
		t.Error("the log has no remedy")
	}
	list, err := handler{d}.Logins(t.Context(), ipc.LoginQuery{UID: ordinary()})
	if err != nil || len(list) != 1 || list[0].Fate != ipc.FateLeave || !strings.Contains(list[0].Why, "background") {
		t.Errorf("%+v, %v", list, err)
	}
	b.source.set("2", nil)
	b.until("it is said no more", func() bool { return text() == "" })
	for _, id := range []string{"1", "2"} {
		if b.phase(id) != "" || len(b.asked(id)) > 0 {
			t.Errorf("login %s was taken on", id)
		}
	}
}

// TestExaminedAgain: what is in the way is looked at anew with a reload.
func TestExaminedAgain(t *testing.T) {
	b := newBench(t)
	stack := filepath.Join(b.o.Root, "etc/pam.d/desk")
	write := func(text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(stack), 0o755), os.WriteFile(stack, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write("session optional pam_systemd.so\n")
	d := b.run()
	said := func() bool {
		return slices.ContainsFunc(handler{d}.Status().Conflicts, func(c ipc.Conflict) bool { return strings.Contains(c.Text, "desk") })
	}
	b.until("it is said", said)
	write("session required pam_loginuid.so\nsession optional pam_systemd.so\n")
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	b.until("it is said no more", func() bool { return !said() })
}

// TestResume: every end that an earlier daemon has left happens, under the same
// record; what is of another boot, torn or foreign ends nobody.
func TestResume(t *testing.T) {
	b := newBench(t)
	dead := b.sshd()
	born, err := linux.Birth(dead.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	gone := session.ProcID{PID: dead.Process.Pid, Start: born}
	b.end(dead)
	b.put(b.state("1", "alice", login.Open, gone))
	b.put(b.state("2", "alice", login.Ended, gone))
	b.put(b.state("3", "alice", login.Ending, gone))
	b.put(b.state("4", "alice", login.Done, gone))
	other := b.state("5", "alice", login.Ended, gone)
	other.Boot = "another"
	b.put(other)
	whole, err := login.Encode(b.state("6", "alice", login.Ended, gone))
	if err != nil {
		t.Fatal(err)
	}
	b.putText("6", whole[:len(whole)/2])
	b.putText("7", []byte("{}\n"))
	for _, id := range []string{"1", "2", "3", "4", "5", "6", "7"} {
		l := b.login(id, "alice", 0)
		b.source.logins[id] = *l
	}
	b.run()
	for _, id := range []string{"1", "2", "3", "4"} {
		b.awaitPhase(id, login.Done)
	}
	// They are open, and nothing else is known of them.
	for _, id := range []string{"5", "6", "7"} {
		b.awaitPhase(id, login.Open)
	}
	for id, want := range map[string]int{"1": 1, "2": 1, "3": 1, "4": 0, "5": 0, "6": 0, "7": 0} {
		asked := b.asked(id)
		if len(asked) != want {
			t.Errorf("login %s: asked %d times, want %d", id, len(asked), want)
		}
		if want == 1 && id != "1" && asked[0].Record != "record"+id {
			t.Errorf("login %s: record %s", id, asked[0].Record)
		}
	}
	for _, id := range []string{"6", "7"} {
		if !b.logged(b.stateFile(id)) {
			t.Errorf("the bad state file of login %s is not reported", id)
		}
	}
}

// TestAgain: an end whose process dies, talks nonsense or refuses is tried
// again, with the same record.
func TestAgain(t *testing.T) {
	b := newBench(t)
	b.run()
	for id, user := range map[string]string{"1": "dies", "2": "babbles", "3": "refused"} {
		b.end(b.open(id, user))
	}
	for _, id := range []string{"1", "2", "3"} {
		b.awaitPhase(id, login.Done)
		asked := b.asked(id)
		if len(asked) != 2 || asked[0].Record != asked[1].Record {
			t.Errorf("login %s: %+v", id, asked)
		}
	}
}

// TestHanging: ends that hang delay nobody else's, however many they are; and a
// stop does not wait for ever.
func TestHanging(t *testing.T) {
	b := newBench(t)
	b.o.Stop = 1
	b.run()
	for i := range mostYoung + 1 {
		b.end(b.open(fmt.Sprint("h", i), "hangs"))
	}
	t.Cleanup(func() { killAll(t, b) })
	b.end(b.open("1", "alice"))
	b.awaitPhase("1", login.Done)
	b.stop()
}

// killAll ends the processes of ends that hang.
func killAll(t *testing.T, b *bench) {
	out, _ := exec.Command("pgrep", "-f", "^"+os.Args[0]+" "+EndVerb+"$").Output()
	for _, field := range strings.Fields(string(out)) {
		env := mustRead("/proc/" + field + "/environ")
		if !strings.Contains("\x00"+string(env), "\x00XEXIT_TEST_DIR="+b.dir+"\x00") {
			continue
		}
		var pid int
		if _, err := fmt.Sscan(field, &pid); err != nil {
			t.Error(err)
			continue
		}
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Kill()
		}
	}
}

// TestStop: a daemon that is asked to stop waits for the end under way.
func TestStop(t *testing.T) {
	b := newBench(t)
	if err := syscall.Mkfifo(filepath.Join(b.dir, "go"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.run()
	b.end(b.open("1", "waits"))
	b.until("the end is under way", func() bool { return len(b.asked("1")) == 1 && b.phase("1") == login.Ending })
	stopped := make(chan struct{})
	go func() { b.stop(); close(stopped) }()
	select {
	case <-stopped:
		t.Error("stopped before the end was carried out")
	default:
	}
	f, err := os.OpenFile(filepath.Join(b.dir, "go"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	<-stopped
	if got := b.phase("1"); got != login.Done {
		t.Errorf("phase %s", got)
	}
}

// TestReload: a bad configuration changes nothing, a good one does; and what
// is not taken on any more is let go.
func TestReload(t *testing.T) {
	b := newBench(t)
	b.run()
	ssh := b.open("1", "alice")
	tty := b.login("2", "alice", b.sshd().Process.Pid)
	tty.Service = "login"
	b.source.set("2", tty)
	hup := func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	b.configure(`types = ["nonsense"]`)
	hup()
	b.until("the bad configuration is reported", func() bool { return b.logged("the old one stays in force") })
	second := b.open("3", "alice")
	b.configure(`types = ["tty"]`)
	hup()
	b.awaitPhase("2", login.Open)
	b.awaitPhase("1", "")
	b.awaitPhase("3", "")
	b.end(ssh)
	b.end(second)
	b.end(b.open4(tty))
	if len(b.asked("1"))+len(b.asked("3")) > 0 {
		t.Error("a login was ended that is not taken on any more")
	}
}

// open4 logs in on a terminal, once more.
func (b *bench) open4(like *member.Login) *exec.Cmd {
	b.t.Helper()
	leader := b.sshd()
	l := b.login("4", "alice", leader.Process.Pid)
	l.Service = like.Service
	b.source.set("4", l)
	b.awaitPhase("4", login.Open)
	return leader
}

// TestLeaderLives: a source that does not know a login any more, or cannot be
// read, has logged nobody out.
func TestLeaderLives(t *testing.T) {
	b := newBench(t)
	b.run()
	leader := b.open("1", "alice")
	b.source.mu.Lock()
	l := b.source.logins["1"]
	delete(b.source.logins, "1")
	b.source.broken = errors.New("half of it cannot be read")
	b.source.mu.Unlock()
	b.source.changed("")
	b.until("that is reported", func() bool { return b.logged("half of it cannot be read") })
	b.source.mu.Lock()
	b.source.broken = nil
	b.source.mu.Unlock()
	b.source.changed("1")
	b.until("that is reported", func() bool { return b.logged("its leader lives") })
	if len(b.asked("1")) > 0 || b.phase("1") != login.Open {
		t.Fatal("ended while its leader lives")
	}
	b.source.set("1", &l)
	b.end(leader)
	b.awaitPhase("1", login.Done)
}

// TestLeaderChanges: the exit of a leader that the login does not have any more
// is nothing to it; that of the one that it has is its end.
func TestLeaderChanges(t *testing.T) {
	b := newBench(t)
	b.run()
	first := b.open("1", "alice")
	second := b.sshd()
	b.source.set("1", b.login("1", "alice", second.Process.Pid))
	b.until("the new leader is known", func() bool {
		s, err := login.Decode("1", mustRead(b.stateFile("1")))
		return err == nil && s.Leader.PID == second.Process.Pid
	})
	b.end(first)
	b.end(b.open("2", "alice")) // whatever the first one did has been done by the time that this has
	b.awaitPhase("2", login.Done)
	if got := b.phase("1"); got != login.Open {
		t.Fatalf("phase %s after the old leader's exit", got)
	}
	b.end(second)
	b.awaitPhase("1", login.Done)
}

// TestLongNames: whatever a login calls its display, its state can be read
// again.
func TestLongNames(t *testing.T) {
	b := newBench(t)
	b.run()
	leader := b.open("1", "alice")
	l := b.login("1", "alice", leader.Process.Pid)
	l.Display, l.RemoteHost = strings.Repeat("\xffx", login.MaxState), strings.Repeat("y", login.MaxState)
	b.source.set("1", l)
	b.until("the state is new", func() bool {
		s, err := login.Decode("1", mustRead(b.stateFile("1")))
		return err == nil && s.Client != ""
	})
	b.end(leader)
	b.awaitPhase("1", login.Done)
}

// TestTypeChanged: a user may change what his login calls itself; that does not
// let it go.
func TestTypeChanged(t *testing.T) {
	b := newBench(t)
	b.run()
	leader := b.open("1", "alice")
	l := b.login("1", "alice", leader.Process.Pid)
	l.Type, l.Service, l.Class, l.State = "web", "", "background", "online"
	b.source.set("1", l)
	b.end(b.open("2", "alice"))
	b.awaitPhase("2", login.Done)
	b.end(leader)
	b.awaitPhase("1", login.Done)
}

// TestSecondDaemon: there is one at a time.
func TestSecondDaemon(t *testing.T) {
	b := newBench(t)
	b.run()
	b.open("1", "alice")
	if err := Run(t.Context(), b.o); !errors.Is(err, ErrRunning) {
		t.Errorf("a second daemon: %v", err)
	}
	b.configure("types = 1")
	if err := Run(t.Context(), b.o); !errors.Is(err, ErrConfig) {
		t.Errorf("with a bad configuration: %v", err)
	}
}

// TestManyLogins: a thousand logins that come and go leave nothing behind.
func TestManyLogins(t *testing.T) {
	b := newBench(t)
	b.run()
	b.end(b.open("warm", "alice"))
	b.awaitPhase("warm", login.Done)
	b.source.set("warm", nil)
	b.awaitPhase("warm", "")
	goroutines, descriptors := runtime.NumGoroutine(), openFiles(t)
	leader := b.sshd()
	const many = 1000
	for i := range many {
		id := fmt.Sprint(i)
		b.source.set(id, b.login(id, "alice", leader.Process.Pid))
	}
	b.until("all are taken on", func() bool {
		for i := range many {
			if b.phase(fmt.Sprint(i)) != login.Open {
				return false
			}
		}
		return true
	})
	// They are not taken on any more: nothing is left of them.
	b.configure(`types = ["tty"]`)
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	b.until("all are let go", func() bool {
		entries, err := os.ReadDir(filepath.Join(b.o.Dir, "sessions"))
		return err == nil && len(entries) == 0
	})
	b.until("descriptors and goroutines are as before", func() bool {
		return openFiles(t) <= descriptors+1 && runtime.NumGoroutine() <= goroutines+2
	})
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
