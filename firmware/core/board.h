/* What boards have in common, whatever light they have: the clock, the speed of the
 * serial line. In portable C; the functions named chip_* are those of what it runs on. */
#ifndef LS_BOARD_H
#define LS_BOARD_H

#include "core.h"

enum { TICKS_MS = 2000 };

extern struct ls_core core;
extern uint32_t clock_now; /* as of the last reading: board_now, at least each 32 ms, or who knows better */

/* Configures the core as it is after a reset. The line is at 115200 baud. */
void board_start(void);

/* Goes back to 115200 baud when a new speed brings nothing that can be read. Light that
 * is on its way keeps the host from saying anything: busy. */
void watch_baud(bool busy);

uint16_t chip_ticks(void);       /* the clock, modulo 2^16 */
void chip_baud(uint32_t baud);   /* from when what was written has left */

#endif
