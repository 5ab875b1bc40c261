/* What the assembler loops and C share. Addresses are fixed so that a pointer
 * wraps by its high octet. */
#ifndef LOOPS_H
#define LOOPS_H

#define OUT 0x0100  /* 256 octets to the host; the index wraps by itself */
#define RING 0x0200 /* 1536 octets from the host, up to 0x07FF */
#define RING_SIZE 1536

#define MARK 0x7C
#define ESCAPED 0x7D
#define FLAG 0x7E
#define TYPE_RX 0x90
#define FILL 0x55
#define SYNC0 0xEB
#define SYNC1 0x90

#define LIGHT_QUIET 0
#define LIGHT_FRAME 1
#define LIGHT_FULL 2

#define LIGHT_PRBS 0x04 /* light_mode: what is heard stays here */

#ifndef __ASSEMBLER__
#include <stdint.h>

/* One owner at a time: the loops while they run, C (and the receive interrupt
 * for ring_head) in between. */
extern volatile uint16_t ring_head; /* next octet from the host goes here */
extern uint16_t ring_tail;          /* next octet to be taken */
extern uint8_t out_head;            /* end of what may leave */
extern uint8_t out_tail;            /* next octet to leave */
extern uint8_t out_prov;            /* end of what was written */
extern volatile uint8_t uart_overran;

extern uint16_t hunt_last, hunt_run;
extern uint8_t hunt_level, hunt_count, hunt_tries, hunt_mask; /* mask: bit r, listen at rate r */

extern uint8_t light_mode, light_rate, light_octet, light_cause, light_marks, light_extra, light_length;
extern uint8_t light_header[8];
extern uint16_t light_crc, light_left, light_viol, light_time, light_false;
extern uint8_t led_light, led_idle; /* values of PORTB */
extern uint8_t led_timer;           /* value of TCCR2A for idle light */

uint8_t light_hunt(void);
void light_send(void);
#endif
#endif
