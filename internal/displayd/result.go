package displayd

import (
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"

	"xexit/internal/display"
	"xexit/internal/linux"
)

// result is what an opener answers, in one packet: with the descriptor, or why
// there is none. It comes from a process with the session user's credentials.
type result struct {
	V int `json:"v"`

	Error   string          `json:"error,omitempty"`
	Errno   syscall.Errno   `json:"errno,omitempty"`   // of connect(2)
	Refused display.Refusal `json:"refused,omitempty"` // there is no display to connect to
	Remedy  string          `json:"remedy,omitempty"`

	Pending   bool   `json:"pending,omitempty"`
	Wayland   bool   `json:"wayland,omitempty"`
	Socket    string `json:"socket,omitempty"`
	IP        []byte `json:"ip,omitempty"`
	Port      uint16 `json:"port,omitempty"`
	Number    int    `json:"number,omitempty"`
	Screen    int    `json:"screen,omitempty"`
	Cookie    []byte `json:"cookie,omitempty"`
	Authority string `json:"authority,omitempty"`
	SSH       string `json:"ssh,omitempty"`
}

// Bounds of a result.
const (
	maxSocket = 108 // of sun_path (unix(7))
	maxCookie = 256
)

// send sends it on a socket, with a descriptor or none.
func (r *result) send(socket, fd int) error {
	r.V = version
	r.Error, r.Remedy, r.Authority = short(r.Error, maxText), short(r.Remedy, maxText), short(r.Authority, maxText)
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return linux.SendMessage(socket, text, fd)
}

// failure is the result of an error of display.Connect.
func failure(err error) *result {
	r := &result{Error: err.Error()}
	var refused *display.RefusedError
	var errno syscall.Errno
	switch {
	case errors.As(err, &refused):
		r.Refused, r.Remedy = refused.Kind, refused.Remedy
	case errors.As(err, &errno):
		r.Errno = errno
	}
	return r
}

func success(c display.Connection) *result {
	r := &result{
		Pending: c.Pending, Wayland: c.Wayland, Socket: c.Socket, IP: c.IP, Port: c.Port,
		Number: c.Number, Screen: c.Screen, Cookie: c.Cookie, SSH: c.SSH,
	}
	if c.Authority != nil {
		r.Authority = c.Authority.Error()
	}
	return r
}

// receiveResult waits for an opener's answer on socket, which it closes. That
// none comes says nothing of the display.
func receiveResult(socket int) (display.Connection, error) {
	conn, err := seqpacket(socket)
	if err != nil {
		return display.Connection{}, fmt.Errorf("%w: %w", display.ErrUnable, err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(openerPatience)); err != nil {
		return display.Connection{}, fmt.Errorf("%w: %w", display.ErrUnable, err)
	}
	buf := make([]byte, maxMessage)
	n, fd, err := receive(conn, buf)
	if err != nil {
		return display.Connection{}, fmt.Errorf("%w: the opener has not answered: %w", display.ErrUnable, err)
	}
	var r result
	if err = json.Unmarshal(buf[:n], &r); err != nil {
		err = fmt.Errorf("%w: the opener: %w", display.ErrUnable, err)
	} else if fd == none {
		err = r.failed()
	}
	var c display.Connection
	if err == nil {
		c, err = r.connection(fd)
	}
	if err != nil {
		closeFD(fd)
	}
	return c, err
}

// failed is the error that display.Connect returned there.
func (r *result) failed() error {
	text := errors.New(short(r.Error, maxText))
	switch {
	case r.Refused != 0:
		return &display.RefusedError{Kind: r.Refused, Err: text, Remedy: short(r.Remedy, maxText)}
	case r.Errno != 0:
		return fmt.Errorf("%w (%w)", r.Errno, text)
	}
	return fmt.Errorf("%w: %w", display.ErrUnable, text)
}

// connection is what fd leads to.
func (r *result) connection(fd int) (display.Connection, error) {
	tcp := r.Socket == "" && r.Port != 0 && (len(r.IP) == 4 || len(r.IP) == 16) && !r.Wayland
	unix := r.Socket != "" && len(r.Socket) <= maxSocket && r.IP == nil
	if r.V != version || !tcp && !unix || len(r.Cookie) > maxCookie || r.Number < 0 || r.Screen < 0 {
		return display.Connection{}, fmt.Errorf("%w: %w from the opener", display.ErrUnable, errProtocol)
	}
	c := display.Connection{
		FD: fd, Pending: r.Pending, Wayland: r.Wayland, Socket: r.Socket, IP: r.IP, Port: r.Port,
		Number: r.Number, Screen: r.Screen, Cookie: r.Cookie, SSH: short(r.SSH, maxText),
	}
	if r.Authority != "" {
		c.Authority = errors.New(short(r.Authority, maxText))
	}
	return c, nil
}
