package history

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// An end that is carried out again after each possible interruption has each
// line once in each file, as the first attempt wrote it.
func TestOnce(t *testing.T) {
	for name, interrupt := range map[string]func(w *Writer, r Record) error{
		"before anything": func(*Writer, Record) error { return nil },
		"after begin":     func(w *Writer, r Record) error { return w.Begin(r) },
		"within begin": func(w *Writer, r Record) error {
			line, err := encode(r)
			if err != nil {
				return err
			}
			return os.WriteFile(RuntimeFile(w.Runtime), line[:len(line)/2], 0o600)
		},
		"before the lasting file": func(w *Writer, r Record) error {
			state := w.State
			w.State = ""
			defer func() { w.State = state }()
			if err := w.Begin(r); err != nil {
				return err
			}
			return w.Done(t.Context(), r)
		},
		"within the lasting file": func(w *Writer, r Record) error {
			if err := w.Begin(r); err != nil {
				return err
			}
			return appendOnce(StateFile(w.State, w.Host), DefaultLimit, w.begun...)
		},
		"after all": func(w *Writer, r Record) error {
			if err := w.Begin(r); err != nil {
				return err
			}
			return w.Done(t.Context(), r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := testWriter(t, AppendVerb)
			w.Once = true
			if err := os.Mkdir(w.Runtime, 0o700); err != nil {
				t.Fatal(err)
			}
			r := beginning(NewID())
			r.Event = Begin
			if err := interrupt(w, r); err != nil {
				t.Fatal(err)
			}
			again := Writer{Runtime: w.Runtime, State: w.State, Host: w.Host, Command: w.Command, Once: true}
			if err := again.Begin(r); err != nil {
				t.Fatal(err)
			}
			if err := again.Done(context.Background(), r); err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{RuntimeFile(w.Runtime), StateFile(w.State, w.Host)} {
				if got := events(t, path, r.ID); !slices.Equal(got, []Event{Begin, Done}) {
					t.Errorf("%s has %q", filepath.Base(path), got)
				}
			}
		})
	}
}

// events lists the events of an end's lines that can be read, in order.
func events(t *testing.T, path, id string) (found []Event) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		if name := nameOf(line); name.ID == id {
			found = append(found, name.Event)
		}
	}
	return found
}

// Many at a time, across rotations: nobody writes a line twice or loses one.
func TestOnceManyWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.jsonl")
	const ends, writers = 24, 3
	var wait sync.WaitGroup
	ids := make([]string, ends)
	for i := range ids {
		r := beginning(NewID())
		ids[i] = r.ID
		r.Event, r.Output = Done, strings.Repeat("x", 200)
		line, err := encode(r)
		if err != nil {
			t.Fatal(err)
		}
		for range writers {
			wait.Go(func() {
				// The limit is reached once, and what was set aside is kept.
				if err := appendOnce(path, int64(len(line)*ends*2/3), line); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wait.Wait()
	for _, id := range ids {
		count := 0
		for _, name := range []string{path + ".1", path} {
			count += len(events(t, name, id))
		}
		if count != 1 {
			t.Errorf("%s is there %d times", id, count)
		}
	}
}

// What Find finds is what Read says of it.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	r := beginning(NewID())
	path := filepath.Join(dir, "f")
	if found, err := Find(r.ID, path); err != nil || found.Begin != nil || found.Record().ID != "" {
		t.Errorf("in no file: %+v, %v", found, err)
	}
	r.Event = Begin
	begin, err := encode(r)
	if err != nil {
		t.Fatal(err)
	}
	r.Event, r.Verified, r.Resumed = Done, true, true
	done, err := encode(r)
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.ReplaceAll(done, []byte(r.ID), []byte("0123456789abcdef"))
	if err := appendLines(path, DefaultLimit, begin, other, done[:20], done); err != nil {
		t.Fatal(err)
	}
	found, err := Find(r.ID, path)
	if err != nil || !bytes.Equal(found.Begin, begin) {
		t.Fatalf("%q, %v", found.Begin, err)
	}
	if got := found.Record(); got.ID != r.ID || found.Done != nil {
		t.Errorf("the done line is behind a torn one: %q, %+v", found.Done, got)
	}
	if err := appendOnce(path, DefaultLimit, begin, done); err != nil {
		t.Fatal(err)
	}
	found, err = Find(r.ID, path)
	if got := found.Record(); err != nil || !got.Verified || !got.Resumed || got.Event != Done {
		t.Errorf("%+v, %v", got, err)
	}
}
