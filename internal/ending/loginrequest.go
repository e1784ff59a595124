package ending

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"xexit/internal/config"
	"xexit/internal/member"
	"xexit/internal/proc"
	"xexit/internal/registry"
	"xexit/internal/session"
)

// EndLoginVerb is the hidden verb by which the daemon has one login ended, in a
// process of its own: whatever holds up that end holds up no other.
const EndLoginVerb = "__end-login"

// LoginRequest is what EndLogin reads. It holds all that is needed: by then
// logind may have forgotten the login, and its leader may be dead.
type LoginRequest struct {
	V         int            `json:"v"`
	Login     string         `json:"login"` // logind's id, or that of the registry of logins
	UID       uint32         `json:"uid"`
	User      string         `json:"user"`
	Cgroup    string         `json:"cgroup"` // as in /proc/PID/cgroup; "": the login has none
	Scope     string         `json:"scope"`  // its unit; "" without systemd
	Audit     uint32         `json:"audit"`  // 0 and session.NoAudit: none
	Leader    session.ProcID `json:"leader"`
	Display   string         `json:"display"`
	Client    string         `json:"client"`
	Type      string         `json:"type"`
	Service   string         `json:"service"`
	Reason    session.Reason `json:"reason"`
	Noticed   string         `json:"noticed"`
	NoticedUS int64          `json:"noticed_us"`
	Record    string         `json:"record"` // the same for each attempt at one end
	Session   session.ID     `json:"session"`
	AuditOnly bool           `json:"audit_only"`

	// Boot is the boot_id (random(4)) in which all this was seen; "": not checked.
	Boot string `json:"boot,omitempty"`
	// Config is what the daemon has loaded; nil: the files are read, and must be valid.
	Config *config.Config `json:"config,omitempty"`
}

// loginVersion is the only LoginRequest.V there is.
const loginVersion = 1

// maxRequest bounds a request, in bytes; a configuration takes most of it.
const maxRequest = 4 << 20

// readLoginRequest takes the first value of JSON from in; the rest of in is
// what follows it.
func readLoginRequest(in io.Reader) (r LoginRequest, rest io.Reader, err error) {
	d := json.NewDecoder(io.LimitReader(in, maxRequest))
	if err := d.Decode(&r); err != nil {
		return r, in, fmt.Errorf("%w: read the request: %w", ErrUsage, err)
	}
	if r.Audit == 0 {
		r.Audit = session.NoAudit // ids begin at 1: it was left out
	}
	after, _ := io.ReadAll(d.Buffered()) // from memory
	return r, io.MultiReader(bytes.NewReader(bytes.TrimSpace(after)), in), nil
}

// check refuses what nobody may be ended for.
func (r *LoginRequest) check(h Host) error {
	if r.V != loginVersion {
		return fmt.Errorf("%w: a request of version %d, known is %d", ErrUsage, r.V, loginVersion)
	}
	if !isWord(r.Login) || !isWord(r.Record) {
		return fmt.Errorf("%w: login %q, record %q: expected letters and digits", ErrUsage, r.Login, r.Record)
	}
	id, err := session.ParseID(string(r.Session))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	r.Session = id
	r.Reason, _ = session.ParseReason(string(r.Reason)) // a later version's is other
	if err := r.checkGroup(); err != nil {
		return err
	}
	if r.Boot == "" {
		return nil
	}
	boot, err := bootID(h.Proc)
	if err == nil && r.Boot != boot {
		err = fmt.Errorf("%w: login %s was of another boot", ErrUsage, r.Login)
	}
	return err
}

// isWord: letters, digits and hyphens, as in ids that become file names.
func isWord(text string) bool {
	for _, c := range []byte(text) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' {
			return false
		}
	}
	return text != "" && len(text) <= 64
}

// checkGroup: all that is in the group will be ended, so it must be one that
// holds this login and nothing else: the scope that logind makes for it in its
// user's slice, or what the PAM hook makes.
func (r *LoginRequest) checkGroup() error {
	switch r.Cgroup {
	case "":
		if r.Audit == session.NoAudit {
			return fmt.Errorf("%w: login %s has neither a control group nor an audit id, so nobody can be told from anybody", ErrUsage, r.Login)
		}
		return nil
	case fmt.Sprintf("/user.slice/user-%d.slice/session-%s.scope", r.UID, r.Login), member.HookCgroup(r.Login):
		return nil
	}
	return fmt.Errorf("%w: %q is not the control group of login %s of uid %d", ErrUsage, r.Cgroup, r.Login, r.UID)
}

func bootID(procRoot string) (string, error) {
	text, err := os.ReadFile(path.Join(procRoot, "sys/kernel/random/boot_id"))
	return strings.TrimSpace(string(text)), err
}

// entry is the session that is ended.
func (r *LoginRequest) entry() registry.Entry {
	return registry.Entry{
		ID: r.Session, UID: r.UID, Display: session.CanonicalDisplay(r.Display),
		Audit: r.Audit, Scope: r.Cgroup, OwnsLogin: true,
		Leader: r.Leader, Start: r.Leader.Start, Phase: session.PhaseEnding,
	}
}

// sameLogin refuses a login that has the id and the control group of the one
// that is meant, and is another one: logind may count from the beginning again.
func (r *LoginRequest) sameLogin(h Host, fs *proc.FS) error {
	l, err := member.ReadLogin(os.DirFS(h.Root), r.Login)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil // it has forgotten it, or there is no logind
	}
	if err != nil {
		return err
	}
	if l.UID != r.UID {
		return fmt.Errorf("%w: login %s is another user's by now: uid %d", ErrUsage, r.Login, l.UID)
	}
	if l.Leader == 0 || r.Leader.IsZero() {
		return nil
	}
	stat, err := fs.Stat(l.Leader)
	if errors.Is(err, proc.ErrGone) || err == nil && stat.ID() == r.Leader {
		return nil
	}
	if err != nil {
		return fmt.Errorf("leader of login %s: %w", r.Login, err)
	}
	in, err := fs.Cgroup(l.Leader)
	if err != nil && !errors.Is(err, proc.ErrGone) {
		return fmt.Errorf("leader of login %s: %w", r.Login, err)
	}
	if member.Within(in, r.Cgroup) { // otherwise the number is somebody else's
		return fmt.Errorf("%w: login %s is another one by now: its leader is %d, not %d", ErrUsage, r.Login, l.Leader, r.Leader.PID)
	}
	return nil
}

// number is uid as text.
func number(uid uint32) string { return strconv.FormatUint(uint64(uid), 10) }
