// Command conflicts prints what package conflict finds on the machine that it
// runs on, as JSON.
package main

import (
	"context"
	"encoding/json"
	"os"

	"xexit/internal/conflict"
)

func main() {
	if err := json.NewEncoder(os.Stdout).Encode(conflict.Find(context.Background(), conflict.ThisHost(0))); err != nil {
		os.Exit(1)
	}
}
