package session

import "slices"

// Step is a station of a login's end, in system mode.
type Step string

// The steps, in the order in which an end comes to them. A step is named when
// it has been taken, whether or not there was anything to do: `freeze` means
// that the group stands still, `done` that the record has been written.
const (
	StepClaim     Step = "claim"      // nobody else ends this login now
	StepBegin     Step = "begin"      // the beginning is on record
	StepLeader    Step = "leader"     // whoever opened the login had time for closing it
	StepUserHooks Step = "user-hooks" // the site's exit scripts, as the user
	StepRootHooks Step = "root-hooks" // those of [hooks] root-dir, as root
	StepFreeze    Step = "freeze"     // the login's control group stands still
	StepKeep      Step = "keep"       // who may live on is known
	StepThaw      Step = "thaw"       // it goes on
	StepTerm      Step = "term"       // the first polite signal has been sent
	StepGrace     Step = "grace"      // the time for going by itself is over
	StepKill      Step = "kill"       // the group has been killed
	StepSweep     Step = "sweep"      // what had left the group is dead too
	StepManager   Step = "manager"    // the user's service manager is down, if it was to be
	StepVerified  Step = "verified"   // what is left is known
	StepDone      Step = "done"       // the end is on record
)

// Steps lists every step in its order.
func Steps() []Step {
	return []Step{
		StepClaim, StepBegin, StepLeader, StepUserHooks, StepRootHooks, StepFreeze, StepKeep, StepThaw,
		StepTerm, StepGrace, StepKill, StepSweep, StepManager, StepVerified, StepDone,
	}
}

// AuditSteps lists those of an end that is only planned and recorded.
func AuditSteps() []Step {
	return []Step{StepClaim, StepBegin, StepLeader, StepKeep, StepDone}
}

// Next is the step of an order that comes after one that has been taken; "":
// before the first. It is "" after the last, and after one that is not in it.
func Next(order []Step, taken Step) Step {
	at := 0
	if taken != "" {
		at = slices.Index(order, taken) + 1
		if at == 0 || at == len(order) {
			return ""
		}
	}
	return order[at]
}
