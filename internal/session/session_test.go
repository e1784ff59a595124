package session

import (
	"errors"
	"testing"
)

func TestParseID(t *testing.T) {
	const good = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"
	for _, text := range []string{good, "1B4E28BA-2FA1-41D2-883F-0016D3CCA427"} {
		id, err := ParseID(text)
		if err != nil || id != good {
			t.Errorf("ParseID(%q) = %q, %v; want %q", text, id, err, good)
		}
	}
	for _, text := range []string{"", "1", good + "0", good[:35], "1b4e28ba02fa1-41d2-883f-0016d3cca427", "../../../../../../../../etc/passwd-x", "1b4e28ba-2fa1-41d2-883f-0016d3cca42g"} {
		if id, err := ParseID(text); !errors.Is(err, ErrBadID) || id != "" {
			t.Errorf("ParseID(%q) = %q, %v; want ErrBadID", text, id, err)
		}
	}
	if short := ID(good).Short(); short != "1b4e28ba" {
		t.Errorf("Short() = %q", short)
	}
}

func TestUnsetAuditEqualsNothing(t *testing.T) {
	if SameAudit(NoAudit, NoAudit) {
		t.Error("two processes without an audit id count as one login")
	}
	if !SameAudit(7, 7) || SameAudit(7, 8) || SameAudit(7, NoAudit) {
		t.Error("set audit ids are not compared by value")
	}
}

func TestCanonicalDisplay(t *testing.T) {
	for name, want := range map[string]string{
		":21": ":21", ":21.0": ":21", "unix:21": ":21", "unix:21.1": ":21",
		"localhost:10.0": "localhost:10", "10.1.1.1:30": "10.1.1.1:30", "[::1]:5.0": "[::1]:5",
		"": "", "nonsense": "nonsense",
		"/tmp/.X11-unix/X6": ":6", "unix:/tmp/.X11-unix/X6": ":6", "/tmp/.X11-unix/X6.1": ":6",
		"/tmp/.X11-unix/X": "/tmp/.X11-unix/X", "/tmp/.X11-unix/Xa": "/tmp/.X11-unix/Xa",
		"/run/user/1000/wayland-0": "/run/user/1000/wayland-0", "/tmp/a:b.c": "/tmp/a:b.c", "unix:/tmp/x": "/tmp/x",
	} {
		if got := CanonicalDisplay(name); got != want {
			t.Errorf("CanonicalDisplay(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestParseMarker(t *testing.T) {
	tests := []struct {
		text string
		want Marker
		set  bool
		bad  bool
	}{
		{"SITE", Marker{Name: "SITE"}, false, false},
		{"SITE=a=b", Marker{Name: "SITE", Value: "a=b"}, true, false},
		{"", Marker{}, false, true},
		{"=x", Marker{}, false, true},
		{"SITE=", Marker{}, false, true},
		{"A B=x", Marker{}, false, true},
		{"XEXIT_SESSION=x", Marker{}, false, true},
	}
	for _, tt := range tests {
		m, set, err := ParseMarker(tt.text)
		if m != tt.want && !tt.bad || set != tt.set && !tt.bad || (err != nil) != tt.bad {
			t.Errorf("ParseMarker(%q) = %v, %v, %v", tt.text, m, set, err)
		}
	}
}

func TestPhaseOnlyMovesForward(t *testing.T) {
	order := []Phase{PhaseWatching, PhaseEnding, PhaseEnded}
	for i, from := range order {
		for j, to := range order {
			next, moved := from.Next(to)
			if moved != (j > i) {
				t.Errorf("%s to %s: moved %v", from, to, moved)
			}
			if want := order[max(i, j)]; next != want {
				t.Errorf("%s to %s: is %s, want %s", from, to, next, want)
			}
		}
	}
	if ParsePhase("from a later version") != PhaseWatching {
		t.Error("an unknown phase must read as alive")
	}
}

func TestEvidenceText(t *testing.T) {
	for e := Evidence(0); e < 1<<6; e++ {
		text, err := e.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back Evidence
		if err := back.UnmarshalText(text); err != nil || back != e {
			t.Errorf("%06b is %q and comes back as %06b, %v", e, text, back, err)
		}
	}
	var e Evidence
	if err := e.UnmarshalText([]byte("scope+hearsay")); err == nil {
		t.Error("unknown evidence is accepted")
	}
}

func TestParseReason(t *testing.T) {
	for _, r := range Reasons() {
		if got, err := ParseReason(string(r)); err != nil || got != r {
			t.Errorf("ParseReason(%q) = %q, %v", r, got, err)
		}
	}
	if got, err := ParseReason("boredom"); err == nil || got != ReasonOther {
		t.Errorf("ParseReason(boredom) = %q, %v; want other and an error", got, err)
	}
}

func TestNextStep(t *testing.T) {
	for taken, want := range map[Step]Step{"": StepClaim, StepTerm: StepGrace, StepVerified: StepDone, StepDone: "", "of a later version": ""} {
		if got := Next(Steps(), taken); got != want {
			t.Errorf("after %q: %q, want %q", taken, got, want)
		}
	}
	if got := Next(AuditSteps(), StepLeader); got != StepKeep {
		t.Errorf("in an audit: %q", got)
	}
}
