package hook

import (
	"strings"

	"xexit/internal/session"
)

// Vars is what a hook is told about the end of the session.
type Vars struct {
	Session session.ID
	Reason  session.Reason
	User    string        // login name
	Display string        // as the session had it, e.g. ":0"; may be empty
	Client  string        // the thin client or host that the user sat at; may be empty
	Phase   session.Phase // how far the end has come
}

// assignments has every variable, also those with nothing to say: hooks may
// run under `set -u`. XEXIT_SESSION is the unique marker, by which a hook's
// descendants are found.
func (v Vars) assignments() []string {
	return []string{
		session.MarkerName + "=" + string(v.Session),
		"XEXIT_REASON=" + string(v.Reason),
		"XEXIT_USER=" + v.User,
		"XEXIT_DISPLAY=" + v.Display,
		"XEXIT_CLIENT=" + v.Client,
		"XEXIT_PHASE=" + string(v.Phase),
	}
}

// Environ is a hook's environment: base, which is the session's, in its order
// and without whatever it had of our variables, then those.
func Environ(base []string, vars Vars) []string {
	ours := vars.assignments()
	names := make(map[string]bool, len(ours))
	for _, a := range ours {
		name, _, _ := strings.Cut(a, "=")
		names[name] = true
	}
	env := make([]string, 0, len(base)+len(ours))
	for _, a := range base {
		if name, _, _ := strings.Cut(a, "="); !names[name] {
			env = append(env, a)
		}
	}
	return append(env, ours...)
}
