// Package arch holds the architecture as a test: who may import whom, what
// may not be called, what must be written down. It parses the sources in this
// process, so that a change to any of them runs it again. No production code
// belongs here, and nothing imports it.
package arch
