package hook

import (
	"slices"
	"testing"

	"xexit/internal/session"
)

func TestEnviron(t *testing.T) {
	base := []string{
		"HOME=/home/ann", "XEXIT_SESSION=old", "PATH=/bin", "XEXIT_REASON=old", "XEXIT_SITE=ours to keep",
		"EMPTY=", "XEXIT_PHASE", "XEXIT_SESSIONS=another name", "LTSP_CLIENT_HOSTNAME=ltsp101", "XEXIT_SESSION=older",
	}
	before := slices.Clone(base)
	got := Environ(base, Vars{
		Session: "1b4e28ba-2fa1-41d2-883f-0016d3cca427", Reason: session.ReasonServerGone,
		User: "ann", Display: ":21", Client: "ltsp101", Phase: session.PhaseEnding,
	})
	want := []string{
		"HOME=/home/ann", "PATH=/bin", "XEXIT_SITE=ours to keep",
		"EMPTY=", "XEXIT_SESSIONS=another name", "LTSP_CLIENT_HOSTNAME=ltsp101",
		"XEXIT_SESSION=1b4e28ba-2fa1-41d2-883f-0016d3cca427", "XEXIT_REASON=server-gone", "XEXIT_USER=ann",
		"XEXIT_DISPLAY=:21", "XEXIT_CLIENT=ltsp101", "XEXIT_PHASE=ending",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	if !slices.Equal(base, before) {
		t.Errorf("the session's environment was changed: %q", base)
	}
	if got := Environ(nil, Vars{}); len(got) != 6 || got[4] != "XEXIT_CLIENT=" {
		t.Errorf("%q: every variable is there also with nothing to say", got)
	}
}
