package history

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"

	"xexit/internal/linux"
)

// Where the ends that root's daemon carries out are recorded.
const (
	SystemRuntime = "/run/xexit"
	SystemState   = "/var/lib/xexit"
)

// Found is what files hold of one end: its lines as they are there, nil for
// what is not.
type Found struct{ Begin, Done []byte }

// Record is what the lines say, as Read returns it. It is zero if there are
// none, or none that can be read.
func (f Found) Record() Record {
	var m merger
	for _, line := range [][]byte{f.Begin, f.Done} {
		_ = m.line(line, true) // a line that Find took
	}
	if records := m.records(); len(records) == 1 {
		return records[0]
	}
	return Record{}
}

// Find looks for the lines of an end by its id in files, and in the newest that
// was set aside for each: an end is begun again soon, or first of all after a
// pause. A file that does not exist is empty.
func Find(id string, paths ...string) (found Found, err error) {
	var errs []error
	for _, path := range paths {
		for _, name := range []string{oldName(path, 1), path} {
			text, err := readRegular(name)
			if err != nil {
				errs = append(errs, err)
			}
			found.search(text, id)
		}
	}
	return found, errors.Join(errs...)
}

// search takes the lines of an end from a file's text. A torn one is none.
func (f *Found) search(text []byte, id string) {
	for line := range bytes.Lines(text) {
		if !bytes.Contains(line, []byte(id)) {
			continue
		}
		switch name := nameOf(line); {
		case name.ID != id:
		case name.Event == Begin && f.Begin == nil:
			f.Begin = slices.Clone(line)
		case name.Event == Done && f.Done == nil:
			f.Done = slices.Clone(line)
		}
	}
}

// lineName is what tells one line from all others.
type lineName struct {
	ID    string `json:"id"`
	Event Event  `json:"event"`
}

func nameOf(line []byte) (name lineName) {
	if json.Unmarshal(line, &name) != nil {
		return lineName{}
	}
	return name
}

func readRegular(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find a record: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("find a record: %w", err)
	}
	return text, nil
}

// appendOnce is appendLines for lines that may be there already, since whoever
// wrote them was killed before he could say so: each goes in if the file and
// the one set aside for it lack it. It waits for other writers of this kind.
func appendOnce(path string, limit int64, lines ...[]byte) error {
	return appendTo(path, limit, 1, true, lines)
}

// appendSystem is appendOnce for the lasting history of a whole machine.
func appendSystem(path string, limit int64, lines ...[]byte) error {
	return appendTo(path, limit, systemAside, true, lines)
}

// missing leaves out the lines that path and the file set aside for it have.
func missing(path string, lines [][]byte) ([][]byte, error) {
	var absent [][]byte
	for _, line := range lines {
		name := nameOf(line)
		found, err := Find(name.ID, path)
		if err != nil {
			return nil, err
		}
		if name.Event == Begin && found.Begin == nil || name.Event == Done && found.Done == nil {
			absent = append(absent, line)
		}
	}
	return absent, nil
}

// lockAlone waits for the lock on f. got is false where path names another file
// by now: whoever had the lock before set this one aside.
func lockAlone(f *os.File, path string) (got bool, err error) {
	if err := linux.Flock(int(f.Fd()), true); err != nil {
		return false, fmt.Errorf("lock %s: %w", path, err)
	}
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	now, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(mine, now), err
}

// Again brings what an earlier attempt has recorded into the lasting file,
// which that attempt may not have come to. It is bounded like Done.
func (w *Writer) Again(ctx context.Context, f Found) error {
	for _, line := range [][]byte{f.Begin, f.Done} {
		if line != nil {
			w.begun = append(w.begun, line)
		}
	}
	return w.flush(ctx, true)
}
