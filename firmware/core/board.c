#include "board.h"

enum { BAUD_DEFAULT = 115200 };

struct ls_core core;
uint32_t clock_now;
static uint32_t last_alive;
static uint16_t alive_limit; /* ms until 115200 comes back; 0: it is here */

uint32_t board_now(void)
{
	uint16_t t = chip_ticks();
	clock_now += (uint16_t)(t - (uint16_t)clock_now);
	return clock_now;
}

void board_baud(uint32_t baud)
{
	chip_baud(baud);
	core.alive = false; /* the question itself came at the old speed */
	last_alive = board_now();
	alive_limit = baud == BAUD_DEFAULT ? 0 : 500;
}

/* Not inlined: where it is called there is little stack. */
__attribute__((noinline)) void watch_baud(bool busy)
{
	uint32_t now = clock_now;
	if (core.alive || busy) {
		core.alive = false;
		last_alive = now;
		if (alive_limit != 0)
			alive_limit = 3000;
	}
	if (alive_limit != 0 && now - last_alive > alive_limit * (uint32_t)TICKS_MS) {
		alive_limit = 0;
		chip_baud(BAUD_DEFAULT);
	}
}

void board_start(void)
{
	ls_init(&core);
	board_config(&core.config);
}
