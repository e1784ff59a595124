//go:build faultpoints

package ending

import (
	"io"
	"os"

	"xexit/internal/session"
)

// faultPoint is where tests kill: at the step that XEXIT_FAULT names the end
// stands still, as if it had been stopped there, until a byte comes in or
// nobody can send one any more. The ordinary program has none of this.
func faultPoint(step session.Step, in io.Reader) {
	if os.Getenv("XEXIT_FAULT") != string(step) {
		return
	}
	var word [1]byte
	_, _ = in.Read(word[:])
}
