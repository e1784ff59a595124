package displayd

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"xexit/internal/logind"
)

// UnitOpener starts openers as services of systemd's, which has the right to
// run one as any user. program is xexit-main.
func UnitOpener(program string) Starter {
	var last atomic.Uint64
	return func(ctx context.Context, o Opening) error {
		u := logind.Unit{
			// The process's number: names of a daemon before this one may be
			// in use still.
			Name:        fmt.Sprintf("xexit-open-%s-%d-%d.service", o.Login, os.Getpid(), last.Add(1)),
			Description: "Open the display of login " + o.Login,
			Path:        program, Argv: append([]string{program}, o.Argv...),
			User: strconv.FormatUint(uint64(o.UID), 10), Stdin: o.Socket, Stdout: o.Note,
			Deadline: openerLimit + time.Second, Grace: time.Second / 10,
			Ambient: 1 << capNetBindService, Memory: 64 << 20, Tasks: 32,
		}
		_, err := logind.RunUnit(ctx, u)
		return err
	}
}
