package daemon

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"xexit/internal/linux"
	"xexit/internal/login"
)

// stateDir is the directory of the state files, one a login. They are written
// before anything is done about it, by a rename, so that a daemon that dies at
// any instant leaves the old one or the new one. They lie in memory (tmpfs).
type stateDir struct {
	path string
	lock *os.File // held for as long as the daemon lives
}

const stateSuffix = ".json"

// ErrRunning reports a second daemon.
var ErrRunning = errors.New("another xexit daemon runs")

// openStates makes the directories below the runtime directory. Ordinary users
// pass through dir on their way to the socket; its content is root's.
func openStates(dir string) (stateDir, error) {
	s := stateDir{path: filepath.Join(dir, "sessions")}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return s, err
	}
	if err := os.Mkdir(s.path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return s, err
	}
	info, err := os.Lstat(s.path)
	if err != nil {
		return s, err
	}
	if !info.IsDir() || info.Mode().Perm()&0o022 != 0 {
		return s, fmt.Errorf("%s: not a directory of root's alone", s.path)
	}
	return s, nil
}

func (s *stateDir) claim() (err error) {
	if s.lock, err = os.OpenFile(filepath.Join(filepath.Dir(s.path), "daemon.lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return err
	}
	got, err := linux.TryFlock(int(s.lock.Fd()), true)
	if err == nil && !got {
		err = ErrRunning
	}
	if err != nil {
		return errors.Join(err, s.lock.Close())
	}
	return nil
}

func (s *stateDir) release() { _ = s.lock.Close() }

func (s *stateDir) file(id string) string { return filepath.Join(s.path, id+stateSuffix) }

func (s *stateDir) write(state *login.State) error {
	text, err := login.Encode(*state)
	if err != nil {
		return err
	}
	temp := filepath.Join(s.path, "."+state.ID+".new")
	err = os.WriteFile(temp, text, 0o600)
	if err == nil {
		err = os.Rename(temp, s.file(state.ID))
	}
	if err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("state of login %s: %w", state.ID, err)
	}
	return nil
}

func (s *stateDir) remove(id string) error {
	if err := os.Remove(s.file(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// load reads all states of this boot. One of another boot is removed: its ids
// are others' now. What cannot be read is in problems, stays where it is and
// ends nobody.
func (s *stateDir) load(boot string) (states []login.State, problems []error) {
	entries, err := os.ReadDir(s.path)
	if err != nil {
		return nil, []error{err}
	}
	for _, e := range entries {
		name := filepath.Join(s.path, e.Name())
		id, ok := strings.CutSuffix(e.Name(), stateSuffix)
		if !ok || strings.HasPrefix(e.Name(), ".") {
			if strings.HasSuffix(e.Name(), ".new") { // of a write that was cut short
				_ = os.Remove(name)
			}
			continue
		}
		text, err := readBounded(name)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		state, err := login.Decode(id, text)
		switch {
		case err != nil:
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
		case state.Boot != boot:
			if err := s.remove(id); err != nil {
				problems = append(problems, err)
			}
		default:
			states = append(states, state)
		}
	}
	return states, problems
}

func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, login.MaxState+1))
}
