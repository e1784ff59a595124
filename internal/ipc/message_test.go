package ipc

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"xexit/internal/history"
)

// TestLongAnswers: what users do does not make a message too long to be sent.
func TestLongAnswers(t *testing.T) {
	many := make([]history.Process, 10_000)
	for i := range many {
		many[i].Comm = strings.Repeat("\x1b", 15)
	}
	survivors := make([]history.Survivor, 10_000)
	for i := range survivors {
		survivors[i].Cause = strings.Repeat("<", 100)
	}
	for _, a := range []answer{
		{Login: &Login{ID: "1", Processes: many}},
		{Record: &history.Record{V: 1, ID: "x", Event: history.Done, Processes: many, Output: strings.Repeat("\x00", MaxAnswer)}},
		{Result: &Result{Survivors: survivors, Ended: 7}},
	} {
		line, err := encodeAnswer(a)
		if err != nil || len(line) > MaxAnswer {
			t.Fatalf("%d bytes, %v", len(line), err)
		}
		got, err := decodeAnswer(line)
		switch {
		case err != nil:
			t.Error(err)
		case got.Login != nil && (got.Login.Omitted != 10_000 || got.Login.ID != "1"):
			t.Errorf("%+v", got.Login)
		case got.Record != nil && (got.Record.Omitted != 10_000 || !got.Record.Truncated || got.Record.ID != "x"):
			t.Errorf("%+v", got.Record)
		case got.Result != nil && (got.Result.Ended != 7 || len(got.Result.Survivors) != maxListed):
			t.Errorf("%+v", got.Result)
		}
	}
	if _, err := encodeAnswer(answer{Status: &Status{Version: strings.Repeat("x", MaxAnswer)}}); !errors.Is(err, ErrFailed) {
		t.Errorf("what cannot be shortened: %v", err)
	}
}

// TestErrorsCross: each error is itself on the other side, in its own words.
func TestErrorsCross(t *testing.T) {
	for _, c := range codes() {
		err := toWire(fmt.Errorf("login 4: %w: indeed", c.err)).err()
		if !errors.Is(err, c.err) || err.Error() != "login 4: "+c.err.Error()+": indeed" {
			t.Errorf("%s became %v", c.name, err)
		}
	}
	if err := toWire(errors.New("what?")).err(); !errors.Is(err, ErrFailed) || err.Error() != "what?" {
		t.Errorf("of no kind: %v", err)
	}
}

// TestAcquaintances: who asks again and again is looked up once, and nobody is
// taken for another.
func TestAcquaintances(t *testing.T) {
	var a acquaintances
	asked := 0
	even := func(uid uint32) bool { asked++; return uid%2 == 0 }
	for range 1000 {
		if !a.knows(alice*2, even) || a.knows(bob*2+1, even) {
			t.Fatal("one is taken for the other")
		}
	}
	if asked >= 1000 {
		t.Errorf("looked up %d times", asked)
	}
	for uid := range uint32(3 * maxAcquaintances) {
		if a.knows(uid, even) != (uid%2 == 0) || len(a.has) > maxAcquaintances {
			t.Fatalf("%d of %d", uid, len(a.has))
		}
	}
}
