#include "go_asm.h"
#include "textflag.h"

#define SYS_futex 202
#define SYS_exit_group 231
#define ETIMEDOUT 110

// func wait(deadline *int64, changes *uint32)
//
// R12, R13: the arguments. BX: the deadline that was seen. R8: the changes that
// were seen. The kernel leaves all but AX, CX and R11 alone.
TEXT ·wait(SB), NOSPLIT, $16-16
	MOVQ deadline+0(FP), R12
	MOVQ changes+8(FP), R13

	// Up: New may return.
	MOVQ $const_starting, AX
	MOVQ $const_disarmed, CX
	LOCK
	CMPXCHGQ CX, (R12)
	MOVQ R12, DI
	MOVL $const_futexWake, SI
	MOVL $1, DX
	MOVL $SYS_futex, AX
	SYSCALL

look:
	MOVL (R13), R8
	MOVQ (R12), BX
	CMPQ BX, $const_closed
	JEQ  done
	XORL R10, R10 // without a deadline: for ever
	TESTQ BX, BX
	JLT  sleep
	MOVQ BX, AX
	XORL DX, DX
	MOVQ $1000000000, CX
	DIVQ CX
	MOVQ AX, seconds-16(SP)
	MOVQ DX, nanoseconds-8(SP)
	LEAQ seconds-16(SP), R10

sleep:
	MOVQ R13, DI
	MOVL $const_futexWait, SI
	MOVL R8, DX
	XORL R8, R8
	MOVL $const_futexAny, R9
	MOVL $SYS_futex, AX
	SYSCALL
	CMPQ AX, $-ETIMEDOUT
	JNE  look

	// The deadline, unless it was moved at the last moment.
	MOVQ BX, AX
	MOVQ $const_fired, CX
	LOCK
	CMPXCHGQ CX, (R12)
	JNE  look

exit:
	XORL DI, DI
	MOVL $SYS_exit_group, AX
	SYSCALL
	JMP  exit

done:
	RET
