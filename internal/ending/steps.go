package ending

import (
	"encoding/json"
	"io"
	"slices"

	"xexit/internal/history"
	"xexit/internal/session"
)

// stepper tells the daemon how far the end of a login has come, and at last
// how it went:
//
//	{"step":"claim"}
//	{"step":"begin"}
//	…
//	{"result":{"exit":0,"verified":true,…}}
//
// Nobody needs to listen: what cannot be told is left out.
type stepper struct {
	out   *json.Encoder
	in    io.Reader // what follows the request
	order []session.Step
	taken int // of order
}

func newStepper(out io.Writer, in io.Reader, order []session.Step) *stepper {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	return &stepper{out: e, in: in, order: order}
}

// reach says that a step has been taken, after those before it that were not
// named yet: there was nothing to do for them.
func (s *stepper) reach(step session.Step) {
	last := slices.Index(s.order, step)
	for s.taken <= last {
		now := s.order[s.taken]
		s.taken++
		_ = s.out.Encode(struct {
			Step session.Step `json:"step"`
		}{now})
		faultPoint(now, s.in)
	}
}

// LoginResult is how the end of a login went: the last line.
type LoginResult struct {
	Exit      int                `json:"exit"` // the process's status
	Verified  bool               `json:"verified"`
	Ended     int                `json:"ended"`
	Kept      int                `json:"kept"`
	Spared    int                `json:"spared"`
	Survivors []history.Survivor `json:"survivors,omitempty"`
	Problems  []string           `json:"problems,omitempty"`
}

// mostNamed bounds the line: the record has all of them.
const mostNamed = 200

func (s *stepper) result(r LoginResult) int {
	r.Survivors = r.Survivors[:min(len(r.Survivors), mostNamed)]
	_ = s.out.Encode(struct {
		Result LoginResult `json:"result"`
	}{r})
	return r.Exit
}
