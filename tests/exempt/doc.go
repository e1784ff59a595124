// Package exempt has programs that are made to outlive a login run in one, and
// root end it: real ones, in a container that a real systemd boots. They live,
// all else of the login goes; switched off, they go too. Beside them are those
// that a user may disguise as one of them.
package exempt
