package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"xexit/internal/session"
)

var noon = time.Date(2026, 3, 14, 12, 0, 0, 123456789, time.UTC)

// beginning and ending are the two lines of one end with every field set.
func beginning(id string) Record {
	return Record{
		V: Version, ID: id, Event: Begin, Time: noon, Kind: KindEnd, Host: "ts1",
		By: session.ProcID{PID: 77, Start: 770}, Session: "1b4e28ba-2fa1-41d2-883f-0016d3cca427",
		Login: "4", Type: "x11", Service: "lightdm", User: "alice", UID: 1000, Display: ":21", Client: "ltsp101", Reason: session.ReasonServerGone,
		Noticed: "end of file", NoticedAfter: Micros(1200 * time.Microsecond), Program: []string{"/usr/bin/EndXSession"},
	}
}

func ending(id string) Record {
	status := 0
	r := beginning(id)
	r.Event, r.Time = Done, noon.Add(time.Second)
	r.Hooks = []Hook{{Name: "10-eds", Status: -1, Signal: "KILL", TimedOut: true, Denied: []string{"kill"}, Took: Millis(30 * time.Second), Output: "x", Truncated: true}}
	r.Processes = []Process{{
		ProcID: session.ProcID{PID: 4121, Start: 99}, PPID: 1, Comm: "sleep", UID: 1000,
		Evidence: session.ByMarker | session.ByAudit, Verdict: session.VerdictEnd, Why: "its marker",
		Signals: []string{"TERM", "KILL"}, Ended: "kill", After: Millis(3004123 * time.Microsecond),
	}}
	r.Survivors = []Survivor{{ProcID: session.ProcID{PID: 5, Start: 6}, Comm: "cp", Cause: "state D in nfs_wait"}}
	r.Undecided = []Process{{ProcID: session.ProcID{PID: 8, Start: 9}, Verdict: session.VerdictSpare}}
	r.Verified, r.Took, r.Status, r.Output, r.Truncated = true, Millis(35120*time.Microsecond), &status, "bye\n", true
	r.Problems, r.Resumed = []string{"hook refused"}, true
	return r
}

func write(t *testing.T, path string, lines ...string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
}

func line(t *testing.T, r Record) string {
	t.Helper()
	text, err := encode(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "state")
	for _, r := range []Record{beginning("a"), ending("a")} {
		if err := Append(dir, "ts1", r); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(StateFile(dir, "ts1"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file: %v, %v; want mode 0600", info, err)
	}
	records, problems, err := Read(StateFile(dir, "ts1"))
	if err != nil || problems != nil {
		t.Fatal(problems, err)
	}
	want := ending("a")
	want.Time = noon
	if len(records) != 1 || !reflect.DeepEqual(records[0], want) {
		t.Errorf("got\n%+v\nwant\n%+v", records, want)
	}
}

// TestFields fixes the names in the file: other programs read them.
func TestFields(t *testing.T) {
	t.Parallel()
	const want = `{"v":1,"id":"a","event":"done","time":"2026-03-14T12:00:01.123456789Z","kind":"end","host":"ts1",` +
		`"by":{"pid":77,"start":770},"session":"1b4e28ba-2fa1-41d2-883f-0016d3cca427","login":"4","type":"x11","service":"lightdm","user":"alice","uid":1000,` +
		`"display":":21","client":"ltsp101","reason":"server-gone","noticed":"end of file","noticed_us":1200,` +
		`"hooks":[{"name":"10-eds","status":-1,"signal":"KILL","timed_out":true,"denied":["kill"],"took_ms":30000,"output":"x","truncated":true}],` +
		`"processes":[{"pid":4121,"start":99,"ppid":1,"comm":"sleep","uid":1000,"evidence":"audit+marker","verdict":"end","why":"its marker",` +
		`"signals":["TERM","KILL"],"ended":"kill","after_ms":3004.123}],` +
		`"survivors":[{"pid":5,"start":6,"comm":"cp","cause":"state D in nfs_wait"}],` +
		`"undecided":[{"pid":8,"start":9,"ppid":0,"comm":"","uid":0,"evidence":"none","verdict":"spare"}],` +
		`"verified":true,"took_ms":35.12,"problems":["hook refused"],"resumed":true,"program":["/usr/bin/EndXSession"],"status":0,"output":"bye\n","output_truncated":true}` + "\n"
	if got := line(t, ending("a")); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestReadMergesAndReports(t *testing.T) {
	t.Parallel()
	begin, done := line(t, beginning("a")), line(t, ending("a"))
	bare := `{"v":1,"id":"a","event":"done","time":"2026-03-14T12:00:01Z","verified":true}` + "\n"
	other := line(t, beginning("b"))
	for _, c := range []struct {
		name     string
		first    string
		second   string
		ids      string // in order, interrupted ones with a !
		problems string
	}{
		{"nothing", "", "", "", ""},
		{"begin and done", begin + done, "", "a", ""},
		{"copies in two files", begin + done, begin + done, "a", ""},
		{"begin here, done there", begin, done, "a", ""},
		{"done before begin", done, begin, "a", ""},
		{"done that repeats nothing", begin, bare, "a", ""},
		{"interrupted", begin, "", "a!", ""},
		{"two ends", begin + other + done, "", "a b!", ""},
		{"empty lines", "\n" + begin + "\n\n" + done, "", "a", ""},
		{"torn at the end", begin + done[:40], "", "a!", "2: torn line (a write that was cut off): skipped"},
		{"whole but for its newline", begin + done[:len(done)-1], "", "a", ""},
		{"torn within", begin + done[:40] + "\n" + other, "", "a! b!", "2: torn line (a write that was cut off): skipped"},
		{"of a later version", `{"v":2,"id":"x","event":"over"}` + "\n" + begin, "", "a!", "1: written by a later version of xexit (format 2, known is 1): skipped"},
		{"no record", `{"v":1}` + "\n" + begin, "", "a!", "1: not a record (id, version or event is missing): skipped"},
		{"wrong type", `{"v":1,"id":7}` + "\n" + begin, "", "a!", "1: not a record (json: cannot unmarshal number into Go struct field Record.id of type string): skipped"},
		{"too long", strings.Repeat("x", 3*maxLine) + "\n" + begin, "", "a!", "1: longer than 262144 bytes: skipped"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			first, second := filepath.Join(dir, "one"), filepath.Join(dir, "two")
			write(t, first, c.first)
			write(t, second, c.second)
			records, problems, err := Read(first, second, filepath.Join(dir, "absent"))
			if err != nil {
				t.Fatal(err)
			}
			var ids, found []string
			for _, r := range records {
				id := r.ID
				if r.Interrupted() {
					id += "!"
				} else if r.Session == "" || r.User != "alice" || !r.Verified || !r.Time.Equal(noon) {
					t.Errorf("merged badly: %+v", r)
				}
				ids = append(ids, id)
			}
			for _, p := range problems {
				found = append(found, strings.TrimPrefix(p.String(), first+":"))
			}
			if got := strings.Join(ids, " "); got != c.ids {
				t.Errorf("records %q, want %q", got, c.ids)
			}
			if got := strings.Join(found, "\n"); got != c.problems {
				t.Errorf("problems %q, want %q", got, c.problems)
			}
		})
	}
}

func TestReadUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	write(t, good, line(t, beginning("a")))
	records, _, err := Read(dir, good)
	if err == nil || len(records) != 1 {
		t.Errorf("got %d records and error %v; want the good one and an error", len(records), err)
	}
}

func TestTornTailCostsOneLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := StateFile(dir, "h")
	write(t, path, line(t, beginning("a")), `{"v":1,"id":"to`)
	if err := Append(dir, "h", beginning("b")); err != nil {
		t.Fatal(err)
	}
	records, problems, err := Read(path)
	if err != nil || len(records) != 2 || len(problems) != 1 {
		t.Errorf("%d records, problems %v, %v; want both whole lines and one problem", len(records), problems, err)
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "r.jsonl")
	const limit = 4 << 10
	for i := range 100 {
		text := line(t, ending(string(rune('A'+i))))
		if err := appendLines(path, limit, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{path, path + ".1"} {
		info, err := os.Stat(name)
		if err != nil || info.Size() > limit+2<<10 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 2 {
		t.Errorf("%d files, want 2", len(entries))
	}
	records, problems, err := Read(path)
	if err != nil || problems != nil || len(records) < 4 {
		t.Fatalf("%d records, %v, %v", len(records), problems, err)
	}
	if last := records[len(records)-1].ID; last != string(rune('A'+99)) {
		t.Errorf("the last record is %q", last)
	}
}

// TestRotationOfTheSystem: a machine's history keeps many old files, and all are read.
func TestRotationOfTheSystem(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "r.jsonl")
	ends := 0
	for i := range systemAside + 4 {
		for k := range 3 {
			if err := appendSystem(path, 1, []byte(line(t, ending(fmt.Sprint(i, "-", k))))); err != nil {
				t.Fatal(err)
			}
			ends++
		}
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != systemAside+1 {
		t.Errorf("%d files, want %d", len(entries), systemAside+1)
	}
	records, problems, err := Read(path)
	if err != nil || problems != nil || len(records) != systemAside+1 {
		t.Fatalf("%d records of %d, %v, %v", len(records), ends, problems, err)
	}
}

// TestRotationHappensOnce: a writer that opened the file before another one
// set it aside must not put the new file in its place.
func TestRotationHappensOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "r.jsonl")
	write(t, path, "12345")
	opened, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if full(path, opened, 6) || !full(path, opened, 5) {
		t.Error("the limit is not the limit")
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if full(path, opened, 5) {
		t.Error("a file that was set aside is to be set aside again")
	}
	write(t, path, "new")
	if full(path, opened, 5) {
		t.Error("a new file is taken for the old one")
	}
}

func TestManyWriters(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "r.jsonl")
	var all sync.WaitGroup
	const writers, each = 8, 20
	for w := range writers {
		all.Go(func() {
			for i := range each {
				r := ending(string(rune('A'+w)) + string(rune('a'+i)))
				text, err := encode(r)
				if err == nil {
					err = appendLines(path, 1<<20, text)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	records, problems, err := Read(path)
	if err != nil || problems != nil || len(records) != writers*each {
		t.Errorf("%d records, want %d; %v %v", len(records), writers*each, problems, err)
	}
}

func TestAppendRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	write(t, target, "precious\n")
	if err := os.Symlink(target, StateFile(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := Append(dir, "link", beginning("a")); err == nil {
		t.Error("wrote through a symbolic link")
	}
	if err := os.Mkdir(StateFile(dir, "dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Append(dir, "dir", beginning("a")); err == nil {
		t.Error("wrote to a directory")
	}
	if text, _ := os.ReadFile(target); string(text) != "precious\n" {
		t.Errorf("target now holds %q", text)
	}
}

func TestEncodeBoundsTheLine(t *testing.T) {
	t.Parallel()
	r := ending("a")
	r.Hooks[0].Output = strings.Repeat("ä", maxLine)
	r.Output = strings.Repeat("\x1b", maxLine)
	for i := range 20000 {
		r.Processes = append(r.Processes, Process{ProcID: session.ProcID{PID: i}, Comm: "bomb", Evidence: session.ByScope, Verdict: session.VerdictEnd})
	}
	total := len(r.Processes) + len(r.Undecided)
	text := line(t, r)
	if len(text) > maxLine {
		t.Errorf("%d bytes", len(text))
	}
	var back Record
	if err := json.Unmarshal([]byte(text), &back); err != nil {
		t.Fatal(err)
	}
	if got := len(back.Processes) + len(back.Undecided) + back.Omitted; got != total || len(back.Processes) < 100 {
		t.Errorf("%d listed, %d undecided, %d omitted of %d", len(back.Processes), len(back.Undecided), back.Omitted, total)
	}
	if !back.Hooks[0].Truncated || !back.Truncated || len(back.Survivors) != 1 {
		t.Errorf("not marked as cut: %+v", back.Hooks)
	}
}

func TestFileIsSafeToShow(t *testing.T) {
	t.Parallel()
	r := ending("a")
	r.Processes[0].Comm = "a\x1b]0;x\a\x7f\u009b\u202e\U000e0041é"
	r.Output = Bytes([]byte("ok\xff\x9b"))
	text := line(t, r)
	if i := strings.IndexFunc(text, func(c rune) bool { return c != '\n' && (c < ' ' || c >= 0x7f && c != 'é') }); i >= 0 {
		t.Errorf("%q comes through", text[i:i+4])
	}
	var back Record
	if err := json.Unmarshal([]byte(text), &back); err != nil {
		t.Fatal(err)
	}
	if back.Processes[0].Comm != r.Processes[0].Comm || back.Output != `ok\xff\x9b` {
		t.Errorf("%q %q", back.Processes[0].Comm, back.Output)
	}
}

func TestStatePaths(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ xdg, home, want string }{
		{"/x", "/home/a", "/x/xexit"},
		{"", "/home/a", "/home/a/.local/state/xexit"},
		{"relative", "/home/a", "/home/a/.local/state/xexit"},
		{"", "", ""},
	} {
		env := map[string]string{"XDG_STATE_HOME": c.xdg, "HOME": c.home}
		if got := StateDir(func(name string) string { return env[name] }); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
	for host, want := range map[string]string{"ts1": "/d/ts1.jsonl", "../../etc/x": "/d/.._.._etc_x.jsonl", "..": "/d/localhost.jsonl", "": "/d/localhost.jsonl"} {
		if got := StateFile("/d", host); got != want {
			t.Errorf("host %q: %q, want %q", host, got, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Fuzz(func(t *testing.T, text []byte) {
		var m merger
		problems, err := m.lines("file", strings.NewReader(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			if p.Line < 1 || p.What == "" || strings.ContainsAny(p.String(), "\n\x1b") {
				t.Fatalf("problem %q", p)
			}
		}
		for _, r := range m.records() {
			text, err := encode(r)
			var limit *json.MarshalerError
			if errors.As(err, &limit) {
				continue // a year that RFC 3339 cannot say
			}
			if err != nil {
				t.Fatal(err)
			}
			var again merger
			if wrong := again.line(text, true); wrong != "" {
				t.Fatalf("%q is written as %q, which is %s", r.ID, text, wrong)
			}
			_ = r.Summary()
		}
	})
}
