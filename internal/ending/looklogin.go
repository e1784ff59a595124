package ending

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"xexit/internal/engine"
	"xexit/internal/history"
	"xexit/internal/linux"
	"xexit/internal/policy"
)

// LookLoginVerb is the hidden verb by which the daemon finds out who is in a
// login that is over, for those who ask while it is being ended. The process
// that ends it may be waiting for a hook or for the kernel, and knows then what
// it saw last.
const LookLoginVerb = "__look-login"

// LoginLook is who is in a login, and what an end would do about him now.
type LoginLook struct {
	Processes []history.Process `json:"processes"`
	Undecided []history.Process `json:"undecided"`
	Omitted   int               `json:"omitted,omitempty"` // that are one too many
}

// mostSeen bounds what is told of one login, in processes; 200 bytes each are
// usual.
const mostSeen = 1000

// lookNice: whoever is curious takes no time from those who end logins.
const lookNice = 19

// LookLogin looks once at the login that the request on in names, and writes
// what it saw to out, a line of JSON. It ends nobody, claims nothing and reads
// nothing that the user controls. It returns the exit status.
func (h Host) LookLogin(ctx context.Context, in io.Reader, out io.Writer) (engine.Exit, error) {
	req, _, err := readLoginRequest(in)
	if err == nil {
		err = req.check(h)
	}
	if err != nil {
		return engine.ExitUsage, err
	}
	var look LoginLook
	linux.WithNice(lookNice, func() { look, err = h.seeLogin(ctx, req) })
	if err != nil {
		return engine.ExitFailed, err
	}
	if err := json.NewEncoder(out).Encode(look); err != nil {
		return engine.ExitFailed, fmt.Errorf("tell who is there: %w", err)
	}
	return engine.ExitDone, nil
}

func (h Host) seeLogin(ctx context.Context, req LoginRequest) (LoginLook, error) {
	c := req.config()
	t, err := h.open(nil, subject{Entry: req.entry(), login: req.Login}, c, c.Scope, 0)
	if err != nil {
		return LoginLook{}, err
	}
	defer t.close()
	if err := req.sameLogin(h, t.fs); err != nil {
		return LoginLook{}, err
	}
	l := newLooker(t, req.Reason)
	if err := l.survey(ctx); err != nil {
		return LoginLook{}, err
	}
	return seen(l.plan.Items), nil
}

// seen lists those that anything points at. Of those beside, nothing is told:
// who hears it may be the login's user.
func seen(items []policy.Item) LoginLook {
	look := LoginLook{Processes: []history.Process{}, Undecided: []history.Process{}}
	for _, item := range items {
		switch {
		case item.Evidence == 0:
		case len(look.Processes)+len(look.Undecided) == mostSeen:
			look.Omitted++
		case item.Undecided:
			look.Undecided = append(look.Undecided, RecordProcess(item))
		default:
			look.Processes = append(look.Processes, RecordProcess(item))
		}
	}
	return look
}
