package ipc

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"xexit/internal/history"
	"xexit/internal/session"
)

// FuzzRequest: whatever is sent to root's process is understood or refused,
// and what is understood is what was said.
func FuzzRequest(f *testing.F) {
	for _, r := range []request{
		{Op: opLogins},
		{Op: opLogins, All: true},
		{Op: opStatus},
		{Op: opLog, Log: &LogQuery{Count: 20, Session: "c1", Since: time.Unix(1, 0).UTC()}},
		{Op: opEnd, Login: "c12", End: &EndRequest{Reason: session.ReasonRequested}},
	} {
		line, err := encodeRequest(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
	}
	for _, text := range []string{
		"", "{}", `{"v":1}`, `{"v":2,"op":"x"}`, `{"v":1,"op":"end","login":"../1","end":{"reason":"requested"}}`,
		`{"v":1,"op":"logins","uid":0}`, `{"v":1,"op":"logins"}{}`, `{"v":1,"op":"log","log":{"count":-1}}`, `{"V":1,"OP":"status"}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := decodeRequest(line)
		if err != nil {
			if !errors.Is(err, ErrBad) && !errors.Is(err, ErrVersion) {
				t.Fatalf("%v: of no kind", err)
			}
			return
		}
		if r.Op == opEnd && !ValidLogin(r.Login) {
			t.Fatalf("login %q", r.Login)
		}
		again, err := encodeRequest(r)
		if err != nil {
			if len(line) < MaxRequest/8 { // escaping makes it longer
				t.Fatal(err)
			}
			return
		}
		back, err := decodeRequest(again)
		if err != nil || !same(r, back) {
			t.Fatalf("%s: %+v became %+v, %v", again, r, back, err)
		}
	})
}

// FuzzAnswer: what a client hears, of a record's texts that a user chose.
func FuzzAnswer(f *testing.F) {
	status := 3
	for _, a := range []answer{
		{End: true},
		{Login: &Login{ID: "1", UID: 5, Phase: PhaseEnding, Fate: FateAudit, Processes: []history.Process{{Comm: "\x1b[2J"}}}},
		{Record: &history.Record{V: 1, ID: "x", Event: history.Done, Status: &status, Took: history.Millis(time.Second)}},
		{Step: &Step{Step: "claim", At: history.Millis(time.Millisecond)}},
		{Result: &Result{Exit: 3, Survivors: []history.Survivor{{Comm: "a", Cause: "b"}}, Problems: []string{"p"}}},
		{Status: &Status{Types: []string{"x11"}, Conflicts: []Conflict{{Key: "k", Problem: true}}, Counters: map[string]int64{"a": 1}}},
		{Error: toWire(ErrNoLogin)},
	} {
		line, err := encodeAnswer(a)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
	}
	f.Add([]byte(`{"v":1,"login":{"processes":[{"evidence":"moon","verdict":7}]}}`))
	f.Add([]byte(`{"v":1,"record":{"took_ms":1e300}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		a, err := decodeAnswer(line)
		if err != nil {
			return
		}
		if a.Error != nil && a.Error.err() == nil {
			t.Fatal("an error that is none")
		}
		first, err := encodeAnswer(a)
		if err != nil {
			return // a vocabulary that only a later version can write
		}
		if len(first) > MaxAnswer || bytes.IndexByte(first, '\n') != len(first)-1 {
			t.Fatalf("%d bytes, not one line", len(first))
		}
		b, err := decodeAnswer(first)
		if err != nil {
			t.Fatalf("%s: %v", first, err)
		}
		if second, err := encodeAnswer(b); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%s\nbecame\n%s, %v", first, second, err)
		}
	})
}

// same: times are compared as they are written.
func same(a, b request) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}
