package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"xexit/internal/ending"
	"xexit/internal/ipc"
)

func psCommand(env Env) *cobra.Command {
	var req ending.Request
	var asJSON bool
	c := &cobra.Command{
		Use:   "ps",
		Short: "your sessions and logins, what belongs to each and why, and what would happen to it",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return listSessions(c.Context(), env, req, asJSON)
		},
	}
	c.Flags().StringVar(&req.Session, "session", "", "only this session: `ID`, or its beginning")
	c.Flags().StringVar(&req.Config, "config", "", "configuration `FILE` instead of the system's")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// listSessions shows the caller's sessions, and what the daemon says of his
// logins. What the daemon cannot say does not hide what can be seen without it.
func listSessions(ctx context.Context, env Env, req ending.Request, asJSON bool) error {
	logins, daemonErr := systemLogins(ctx, env)
	if daemonErr != nil {
		daemonErr = failed(daemonErr)
	}
	plans, logins, err := sessionsAsked(ctx, env, req, logins)
	if err != nil {
		return lookError(err)
	}
	switch {
	case asJSON:
		err = writeJSON(env, withLogins(planJSON(plans), logins))
	case len(plans)+len(logins) == 0:
		fmt.Fprintln(env.Stdout, "no session is watched")
	default:
		err = showSessions(env, plans, logins)
	}
	if err != nil {
		return failed(err)
	}
	return daemonErr
}

// sessionsAsked chooses what to show. A login's id is not taken for the
// beginning of a session's; root sees its processes too.
func sessionsAsked(ctx context.Context, env Env, req ending.Request, logins []ipc.Login) ([]ending.Plan, []ipc.Login, error) {
	host := ending.ThisHost(env.Environ, env.Self)
	if req.Session == "" {
		plans, err := host.Sessions(ctx, req)
		return unlessLooked(plans, logins), logins, err
	}
	login := findLogin(logins, req.Session)
	if login != nil && (!isRoot() || login.Looked) {
		return nil, []ipc.Login{*login}, nil
	}
	plan, err := host.Look(ctx, req)
	if login == nil {
		return []ending.Plan{plan}, nil, err
	}
	if err != nil { // it is over, and its processes are the daemon's affair
		return nil, []ipc.Login{*login}, nil
	}
	return []ending.Plan{plan}, []ipc.Login{*login}, nil
}

// unlessLooked leaves out plans for logins that are over: of those the daemon
// knows the leader and the audit id still, which may be nowhere else by now.
func unlessLooked(plans []ending.Plan, logins []ipc.Login) []ending.Plan {
	return slices.DeleteFunc(plans, func(p ending.Plan) bool {
		l := findLogin(logins, p.Login)
		return p.Login != "" && l != nil && l.Looked
	})
}
