#include "go_asm.h"
#include "textflag.h"

#define SYS_futex 98
#define SYS_exit_group 94
#define ETIMEDOUT 110

// func wait(deadline *int64, changes *uint32)
//
// R19, R20: the arguments. R21: the deadline that was seen. R22: the changes
// that were seen. The kernel leaves all but R0 alone.
TEXT ·wait(SB), NOSPLIT, $16-16
	MOVD deadline+0(FP), R19
	MOVD changes+8(FP), R20

	// Up: New may return.
	MOVD $const_starting, R1
	MOVD $const_disarmed, R2
up:
	LDAXR (R19), R3
	CMP   R1, R3
	BNE   rouse
	STLXR R2, (R19), R4
	CBNZ  R4, up
rouse:
	MOVD R19, R0
	MOVD $const_futexWake, R1
	MOVD $1, R2
	MOVD $SYS_futex, R8
	SVC

look:
	LDARW (R20), R22
	LDAR  (R19), R21
	MOVD  $const_closed, R1
	CMP   R1, R21
	BEQ   done
	MOVD  $0, R3 // without a deadline: for ever
	CMP   $0, R21
	BLT   sleep
	MOVD  $1000000000, R1
	UDIV  R1, R21, R2
	MSUB  R1, R21, R2, R4 // R21 - R2*R1
	MOVD  R2, seconds-16(SP)
	MOVD  R4, nanoseconds-8(SP)
	MOVD  $seconds-16(SP), R3

sleep:
	MOVD  R20, R0
	MOVD  $const_futexWait, R1
	MOVWU R22, R2
	MOVD  $0, R4
	MOVD  $const_futexAny, R5
	MOVD  $SYS_futex, R8
	SVC
	CMN   $ETIMEDOUT, R0
	BNE   look

	// The deadline, unless it was moved at the last moment.
	MOVD $const_fired, R2
fire:
	LDAXR (R19), R3
	CMP   R21, R3
	BNE   look
	STLXR R2, (R19), R4
	CBNZ  R4, fire

exit:
	MOVD $0, R0
	MOVD $SYS_exit_group, R8
	SVC
	JMP  exit

done:
	RET
