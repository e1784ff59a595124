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

// lookLogin is what the daemon starts to find out who is in such a login. It
// is not for people.
func lookLogin(ctx context.Context, env Env) int {
	status, err := ending.ThisHost(env.Environ, env.Self).LookLogin(ctx, env.Stdin, env.Stdout)
	if err != nil {
		complain(env, err)
	}
	return int(status)
}
