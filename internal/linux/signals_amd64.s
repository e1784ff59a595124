#include "textflag.h"

// What the handler writes to: one for the process, as its handlers are.
GLOBL pipe<>(SB), NOPTR, $8

// func signalHandler(pipe int) (handler, restorer uintptr)
TEXT ·signalHandler(SB), NOSPLIT, $0-24
	MOVQ pipe+0(FP), AX
	MOVQ AX, pipe<>(SB)
	MOVQ $handler<>(SB), AX
	MOVQ AX, handler+8(FP)
	MOVQ $restorer<>(SB), AX
	MOVQ AX, restorer+16(FP)
	RET

// handler is called by the kernel with the signal's number in DI, on the
// thread's signal stack, in any state of the Go runtime: it touches nothing but
// that stack, and sigreturn(2) restores all registers. A full pipe drops.
TEXT handler<>(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	SUBQ $8, SP
	MOVB DI, 0(SP)
	MOVQ pipe<>(SB), DI
	MOVQ SP, SI
	MOVL $1, DX
	MOVL $1, AX // write
	SYSCALL
	ADDQ $8, SP
	RET

// restorer is where handler returns to.
TEXT restorer<>(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVL $15, AX // rt_sigreturn
	SYSCALL
	INT $3
