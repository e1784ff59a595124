package cli

import (
	"context"

	"xexit/internal/ending"
)

// endLogin is what the daemon starts for each login that has ended; see
// ending.LoginRequest for what it says. It is not for people.
func endLogin(ctx context.Context, env Env) int {
	return ending.ThisHost(env.Environ, env.Self).EndLogin(ctx, env.Stdin, env.Stdout, logger(env, true))
}
