package ending

import (
	"context"
	"fmt"
	"time"

	"xexit/internal/engine"
	"xexit/internal/history"
	"xexit/internal/session"
)

// The leader (sshd's monitor, login, the display manager's worker) closes the
// login through PAM, and is given pam-close for that, once: before the hooks
// where the login is closing by itself, so that what it does then finds the
// session as it was; otherwise after its members are gone, since it waits for
// them.

// closesByItself: the end was noticed because the leader leaves or has left.
func (l *loginEnd) closesByItself() bool {
	return l.asked.Reason == session.ReasonLogout || l.asked.Reason == session.ReasonLeaderExit
}

// awaitClosing waits for the leader, for what it has left of pam-close.
func (l *loginEnd) awaitClosing(ctx context.Context) error {
	if ctx.Err() != nil {
		return nil
	}
	began := time.Now()
	defer func() { l.closed += time.Since(began) }()
	return l.target.awaitLeader(l.config.PAMClose - l.closed)
}

// leader is the step of that name. A leader that is too slow is met again at
// the end, and told of then.
func (l *loginEnd) leader(ctx context.Context) {
	if l.closesByItself() {
		_ = l.awaitClosing(ctx)
	}
	l.steps.reach(session.StepLeader)
}

type loginAudit struct{ *loginEnd }

// End implements engine.Members for an end that is only planned: what is there
// after the time in which all would go by itself is what would be ended.
func (l loginAudit) End(ctx context.Context) (engine.Left, error) {
	began := time.Now()
	l.leader(ctx)
	if group := l.target.group; group != nil {
		bounded, cancel := context.WithTimeout(ctx, l.config.Grace)
		defer cancel()
		if err := group.AwaitEmpty(bounded); err != nil && bounded.Err() == nil {
			return engine.Left{}, fmt.Errorf("wait for the login: %w", err)
		}
	}
	if err := l.looker.survey(ctx); err != nil {
		return engine.Left{}, err
	}
	l.looker.note(&l.record)
	l.record.Took = history.Millis(time.Since(began))
	l.steps.reach(session.StepKeep)
	return engine.Left{}, nil
}
