/* What both images have in common: the clock, the speed of the serial line, a reset. */
#ifndef BOARD_H
#define BOARD_H

#include "../core/core.h"

#include <avr/interrupt.h>
#include <avr/sleep.h>

#define TICKS_MS 2000u

extern struct ls_core core;
extern uint32_t clock_now; /* as of the last reading: board_now, at least each 32 ms, or who knows better */

/* The image's own: returns when the UART has all that was written. */
void serial_out(void);

/* The line at 115200 baud, the core, and its configuration. */
void board_start(void);

/* Goes back to 115200 baud when a new speed brings nothing that can be read. Light that
 * is on its way keeps the host from saying anything: busy. */
void watch_baud(bool busy);

/* Called with interrupts off: sleeps until one comes. */
static inline void doze(void)
{
	sleep_enable();
	sei();
	sleep_cpu();
	sleep_disable();
}

#endif
