package ipc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"xexit/internal/history"
	"xexit/internal/linux"
	"xexit/internal/session"
)

// Client asks the daemon. Its fields are set once; it may be used concurrently.
type Client struct {
	Path     string        // of the socket, see Path
	Server   uint32        // uid that the daemon must have: 0 but in tests
	Patience time.Duration // for the connection, and then for each line; 0: 3 times Patience
}

// Logins lists the caller's logins; with all, which is for root, everybody's.
func (c Client) Logins(ctx context.Context, all bool) (list []Login, err error) {
	err = c.ask(ctx, request{Op: opLogins, All: all}, func(a answer) {
		if a.Login != nil {
			list = append(list, *a.Login)
		}
	})
	return list, err
}

// End asks for the end of a login and returns when it is done; progress may be
// nil. If ctx is over before, the end goes on.
func (c Client) End(ctx context.Context, login string, r EndRequest, progress func(Step)) (Result, error) {
	if r.Reason == "" {
		r.Reason = session.ReasonRequested
	}
	var result *Result
	err := c.ask(ctx, request{Op: opEnd, Login: login, End: &r}, func(a answer) {
		if a.Result != nil {
			result = a.Result
		}
		if a.Step != nil && progress != nil {
			progress(*a.Step)
		}
	})
	if err == nil && result == nil {
		err = fmt.Errorf("end login %s: %w", login, errNothing)
	}
	if err != nil {
		return Result{}, err
	}
	return *result, nil
}

// Log returns records of the caller's ends; with all, which is for root, of
// everybody's.
func (c Client) Log(ctx context.Context, all bool, q LogQuery) (list []history.Record, err error) {
	err = c.ask(ctx, request{Op: opLog, All: all, Log: &q}, func(a answer) {
		if a.Record != nil {
			list = append(list, *a.Record)
		}
	})
	return list, err
}

// Status asks the daemon how it is.
func (c Client) Status(ctx context.Context) (Status, error) {
	var status *Status
	err := c.ask(ctx, request{Op: opStatus}, func(a answer) {
		if a.Status != nil {
			status = a.Status
		}
	})
	if err == nil && status == nil {
		err = fmt.Errorf("ask for the status: %w", errNothing)
	}
	if err != nil {
		return Status{}, err
	}
	return *status, nil
}

var errNothing = errors.New("the daemon's answer says nothing")

// ask sends one request and takes the lines of its answer. Errors: ErrAbsent,
// those that the server may send, and the connection's.
func (c Client) ask(ctx context.Context, r request, take func(answer)) error {
	line, err := encodeRequest(r)
	if err != nil {
		return err
	}
	if c.Patience == 0 {
		c.Patience = 3 * Patience
	}
	conn, err := c.connect()
	if err != nil {
		return fmt.Errorf("ask the daemon: %w", err)
	}
	defer conn.Close() //nolint:errcheck // all has been read
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_ = conn.SetWriteDeadline(time.Now().Add(c.Patience))
	_, writeErr := conn.Write(line) // a server that turns us away has said why before
	err = c.answers(conn, r, take)
	var said *serverError
	switch {
	case err == nil || errors.As(err, &said):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("ask the daemon: %w", ctx.Err())
	}
	return fmt.Errorf("ask the daemon: %w", errors.Join(writeErr, err))
}

func (c Client) connect() (*net.UnixConn, error) {
	file, err := linux.ConnectUnix(c.Path, c.Patience)
	if err != nil {
		if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("%w: %w", ErrAbsent, err)
		}
		if errors.Is(err, syscall.EAGAIN) {
			return nil, fmt.Errorf("%w: %w", ErrBusy, err)
		}
		return nil, err
	}
	defer file.Close() //nolint:errcheck // the connection has a copy
	generic, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	conn, ok := generic.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("not a unix socket"), generic.Close())
	}
	uid, err := peer(conn)
	if err == nil && uid != c.Server {
		err = fmt.Errorf("whoever answers at %s is not the daemon: it runs as uid %d", c.Path, uid)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// answers reads lines until the last. An end may take as long as it likes.
func (c Client) answers(conn *net.UnixConn, r request, take func(answer)) error {
	in := bufio.NewReaderSize(conn, MaxAnswer)
	for {
		if r.Op != opEnd {
			_ = conn.SetReadDeadline(time.Now().Add(c.Patience))
		}
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("an answer longer than %d bytes", MaxAnswer)
		case errors.Is(err, io.EOF):
			return fmt.Errorf("it hung up in the middle of its answer: %w", io.ErrUnexpectedEOF)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("no answer within %s: %w", c.Patience, err)
		case err != nil:
			return err
		}
		a, err := decodeAnswer(line)
		switch {
		case err != nil:
			return err
		case a.Error != nil:
			return a.Error.err()
		case a.End:
			return nil
		}
		take(a)
	}
}
