package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// monitor speaks to qemu (its QMP: one JSON object each way, events between).
type monitor struct {
	mu    sync.Mutex
	conn  net.Conn
	lines *json.Decoder
}

// run has one command carried out.
func (m *monitor) run(command string, arguments any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	text, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if err := m.conn.SetDeadline(time.Now().Add(Guard)); err != nil {
		return err
	}
	if _, err := m.conn.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("qemu: %s: %w", command, err)
	}
	for {
		var answer struct {
			Return *json.RawMessage
			Error  *struct{ Desc string }
		}
		switch err := m.lines.Decode(&answer); {
		case err != nil:
			return fmt.Errorf("qemu: %s: %w", command, err)
		case answer.Error != nil:
			return errors.New("qemu: " + command + ": " + answer.Error.Desc)
		case answer.Return != nil:
			return nil
		}
	}
}
