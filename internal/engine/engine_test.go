package engine

import (
	"context"
	"errors"
	"slices"
	"testing"
)

// steps records in which order the parts were called and fails or panics where told.
type steps struct {
	called []string
	fail   map[string]bool
	crash  map[string]bool
	done   Result
}

func (s *steps) step(name string) error {
	s.called = append(s.called, name)
	if s.crash[name] {
		panic(name)
	}
	if s.fail[name] {
		return errors.New(name + " failed")
	}
	return nil
}

func (s *steps) Claim() (func(), error) {
	return func() { s.called = append(s.called, "release") }, s.step("claim")
}
func (s *steps) Begin() error { return s.step("begin") }
func (s *steps) Done(r Result) error {
	s.done = r
	return s.step("done")
}

func (s *steps) Run(context.Context) error { return s.step("hooks") }

func (s *steps) End(context.Context) (Left, error) {
	err := s.step("members")
	return Left{Verified: err == nil}, err
}

func TestOrder(t *testing.T) {
	all := []string{"claim", "begin", "hooks", "members", "done", "release"}
	tests := []struct {
		name     string
		steps    steps
		want     []string
		problems int
		exit     Exit
	}{
		{"all well", steps{}, all, 0, ExitDone},
		{"begin fails", steps{fail: map[string]bool{"begin": true}}, all, 1, ExitDone},
		{"hooks fail", steps{fail: map[string]bool{"hooks": true}}, all, 1, ExitDone},
		{"hooks crash", steps{crash: map[string]bool{"hooks": true}}, all, 1, ExitDone},
		{"members fail", steps{fail: map[string]bool{"members": true}}, all, 1, ExitSurvived},
		{"members crash", steps{crash: map[string]bool{"members": true}}, all, 1, ExitSurvived},
		{"done fails", steps{fail: map[string]bool{"done": true}}, all, 1, ExitDone},
		{"everything fails", steps{fail: map[string]bool{"begin": true, "hooks": true, "members": true, "done": true}}, all, 4, ExitSurvived},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.steps
			r, err := (&Engine{Claimer: &s, Recorder: &s, Hooks: &s, Members: &s}).Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(s.called, tt.want) {
				t.Errorf("called %v, want %v", s.called, tt.want)
			}
			if len(r.Problems) != tt.problems {
				t.Errorf("problems %v, want %d", r.Problems, tt.problems)
			}
			if r.Exit() != tt.exit {
				t.Errorf("exit %d, want %d", r.Exit(), tt.exit)
			}
		})
	}
}

func TestClaimedElsewhere(t *testing.T) {
	s := steps{fail: map[string]bool{"claim": true}}
	_, err := (&Engine{Claimer: &s, Recorder: &s, Hooks: &s, Members: &s}).Run(t.Context())
	if !errors.Is(err, ErrClaimed) {
		t.Errorf("error %v, want ErrClaimed", err)
	}
	if want := []string{"claim"}; !slices.Equal(s.called, want) {
		t.Errorf("called %v, want %v: a refused claim must do nothing", s.called, want)
	}
}

func TestRecordKnowsEarlierProblems(t *testing.T) {
	s := steps{fail: map[string]bool{"hooks": true}}
	if _, err := (&Engine{Claimer: &s, Recorder: &s, Hooks: &s, Members: &s}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.done.Problems) != 1 || !s.done.Verified {
		t.Errorf("record got %+v, want the hooks' problem and the members' end", s.done)
	}
}

func TestNoHooks(t *testing.T) {
	s := steps{}
	if _, err := (&Engine{Claimer: &s, Recorder: &s, Members: &s}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"claim", "begin", "members", "done", "release"}; !slices.Equal(s.called, want) {
		t.Errorf("called %v, want %v", s.called, want)
	}
}
