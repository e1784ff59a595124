package display

import (
	"errors"

	"xexit/internal/display/x11"
)

// ErrAlive is what Run returns after Probe found no end.
var ErrAlive = errors.New("the display is alive")

// Refusal says why a display can definitely not be watched.
type Refusal uint8

// The refusals.
const (
	NoDisplay           Refusal = iota + 1 // no name was given
	BadName                                // the name names no X display
	AuthFailed                             // the server refuses our cookie, or the lack of one
	AuthorityUnreadable                    // the same, and the file with the cookie could not be read
	NotLetIn                               // the server refuses for another reason of its own
)

// RefusedError is a definite refusal: trying again does not help. Any other
// error of Open may pass: no server there yet, no room for another client, a
// server that is grabbed or stopped.
type RefusedError struct {
	Kind   Refusal
	Err    error
	Remedy string // what to do about it, a sentence without a full stop
}

func (e *RefusedError) Error() string { return e.Err.Error() }

func (e *RefusedError) Unwrap() error { return e.Err }

// ErrFull reports that the server has no room for another client now.
var ErrFull = errors.New("no room for another client")

// ErrStalled reports that the server did not answer in time.
var ErrStalled = errors.New("no answer in time (the server is stopped, grabbed or busy)")

// ErrUnable reports that an Opener had no means to try: the display was not
// asked, and nothing is known of it.
var ErrUnable = errors.New("cannot connect")

// refusal turns a set-up refusal into the error that Open returns.
func refusal(r x11.Refused, authority error) error {
	switch {
	case r.TooMany():
		return errors.Join(ErrFull, r)
	case r.Auth() && authority != nil:
		return &RefusedError{
			Kind: AuthorityUnreadable, Err: errors.Join(r, authority),
			Remedy: "make XAUTHORITY name a file that this user can read, or unset it for ~/.Xauthority",
		}
	case r.Auth():
		return &RefusedError{
			Kind: AuthFailed, Err: r,
			Remedy: "check with 'xauth list' that XAUTHORITY holds this display's cookie",
		}
	}
	return &RefusedError{Kind: NotLetIn, Err: r, Remedy: "see the log of the X server"}
}
