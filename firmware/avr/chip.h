/* What both images have in common on the ATmega328P: its registers for the clock, the
 * serial line, sleep. */
#ifndef CHIP_H
#define CHIP_H

#include "../core/board.h"

#include <avr/interrupt.h>
#include <avr/sleep.h>

/* The image's own: returns when the UART has all that was written. */
void serial_out(void);

/* The line at 115200 baud, what the core wants, sleep. */
void chip_start(void);

/* Called with interrupts off: sleeps until one comes. */
static inline void doze(void)
{
	sleep_enable();
	sei();
	sleep_cpu();
	sleep_disable();
}

#endif
