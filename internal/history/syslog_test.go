package history

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"xexit/internal/session"
)

func TestSummary(t *testing.T) {
	t.Parallel()
	status := func(n int) *int { return &n }
	quiet := Record{Event: Done, Kind: KindEnd, Session: "1b4e28ba-2fa1-41d2-883f-0016d3cca427", User: "alice", Reason: session.ReasonLogout, Verified: true, Took: Millis(35 * time.Millisecond)}
	for _, c := range []struct {
		name     string
		change   func(r *Record)
		want     string
		alarming bool
	}{
		{"nothing left", func(*Record) {}, "session 1b4e28ba of alice: logout: 0 ended, verified in 35 ms", false},
		{"begun", func(r *Record) { r.Event, r.User = Begin, "" }, "session 1b4e28ba of uid 0: logout: the end was begun", false},
		{"everything", func(r *Record) { *r = ending("a") }, "session 1b4e28ba of alice on :21 from ltsp101: server-gone: 1 ended (1 by KILL), 1 undecided and spared, " +
			"NOT ended: 5 cp (state D in nfs_wait), 1 of 1 hooks failed, verified in 35 ms; hook refused", true},
		{"kept and hooks", func(r *Record) {
			r.Processes = []Process{{Verdict: session.VerdictKeep}, {Verdict: session.VerdictEnd, Ended: "term"}}
			r.Hooks = []Hook{{Name: "a"}, {Name: "b"}}
		}, "session 1b4e28ba of alice: logout: 1 ended, 1 kept, hooks: 2, verified in 35 ms", false},
		{"not verified", func(r *Record) { r.Verified = false }, "session 1b4e28ba of alice: logout: 0 ended, NOT verified in 35 ms", true},
		{
			"program", func(r *Record) { r.Kind, r.Program, r.Status = KindProgram, []string{"/bin/x", "y"}, status(3) },
			"session 1b4e28ba of alice: logout: /bin/x exited with 3 after 35 ms", true,
		},
		{
			"program shot", func(r *Record) { r.Kind, r.Status = KindProgram, status(137) },
			"session 1b4e28ba of alice: logout: the program was ended by signal 9 after 35 ms", true,
		},
		{"hostile texts", func(r *Record) { r.User, r.Display = "a\nb", "\x1b[2J" }, `session 1b4e28ba of a\x0ab on \x1b[2J: logout: 0 ended, verified in 35 ms`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := quiet
			c.change(&r)
			if got := r.Summary(); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if r.alarming() != c.alarming {
				t.Errorf("alarming: %v", r.alarming())
			}
		})
	}
}

func TestSyslog(t *testing.T) {
	t.Parallel()
	s := Syslog{Socket: filepath.Join(t.TempDir(), "log"), Tag: "xexit", PID: 42}
	if err := s.Send(ending("a")); err == nil {
		t.Error("sent to a socket that is not there")
	}
	log, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.Socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	r := ending("a")
	if err := s.Send(r); err != nil {
		t.Fatal(err)
	}
	r.Problems = []string{strings.Repeat("é", 2000)}
	r.Event = Begin
	if err := s.Send(r); err != nil {
		t.Fatal(err)
	}
	_ = log.SetReadDeadline(time.Now().Add(30 * time.Second))
	buffer := make([]byte, 8192)
	n, err := log.Read(buffer)
	want := "<12>" + r.Time.Local().Format(time.Stamp) + " xexit[42]: session 1b4e28ba of alice on :21 from ltsp101: server-gone: 1 ended"
	if got := string(buffer[:n]); err != nil || !strings.HasPrefix(got, want) || strings.Contains(got, "\n") {
		t.Errorf("got  %q (%v)\nwant %q…", got, err, want)
	}
	n, err = log.Read(buffer)
	if got := string(buffer[:n]); err != nil || n > maxSyslog || !strings.HasPrefix(got, "<13>") || !strings.HasSuffix(got, "é…") {
		t.Errorf("%d bytes: %q (%v)", n, got, err)
	}
}

// TestSyslogStopped has a log daemon that never reads: its socket fills, and
// sending gives up.
func TestSyslogStopped(t *testing.T) {
	t.Parallel()
	s := Syslog{Socket: filepath.Join(t.TempDir(), "log"), Tag: "xexit", PID: 42}
	log, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.Socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	for range 100000 {
		if err = s.Send(ending("a")); err != nil {
			break
		}
	}
	if !os.IsTimeout(err) && (err == nil || !strings.Contains(err.Error(), "timeout")) {
		t.Errorf("got %v, want a timeout", err)
	}
}
