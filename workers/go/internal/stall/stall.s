#include "textflag.h"

// func Loop()
TEXT ·Loop(SB), NOSPLIT, $0-0
again:
	JMP again
