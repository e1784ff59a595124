package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"syscall"
	"time"

	"xexit/internal/ending"
)

// progress appends the steps of an end to a file, most often a FIFO that
// somebody watches. It must not hold up the end: it gives up on the first line
// that cannot be written at once.
type progress struct {
	file *os.File
	also func(ending.Step) // may be nil
	lost bool
}

// openProgress: a FIFO that nobody reads is an error (ENXIO, fifo(7)).
func openProgress(path string, also func(ending.Step)) (*progress, error) {
	const flags = os.O_WRONLY | os.O_APPEND | os.O_CREATE | syscall.O_NONBLOCK | syscall.O_NOCTTY
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--progress: %w", err)
	}
	return &progress{file: f, also: also}, nil
}

// progressPatience is for a reader that was just not scheduled.
const progressPatience = 50 * time.Millisecond

func (p *progress) step(s ending.Step) {
	if p.also != nil {
		p.also(s)
	}
	if p.lost {
		return
	}
	line, err := json.Marshal(s)
	if err == nil {
		_ = p.file.SetWriteDeadline(time.Now().Add(progressPatience)) // a plain file has none
		_, err = p.file.Write(append(line, '\n'))
	}
	p.lost = err != nil
}

func (p *progress) close() { _ = p.file.Close() }
