/* The line code of the light (../PROTOCOL.md, section 4) in portable C: what
 * boards without the AVR's loops and the host's simulations use. Levels are
 * sampled; nothing here knows time. */
#ifndef LS_LIGHT_H
#define LS_LIGHT_H

#include <stdbool.h>
#include <stdint.h>

enum {
	LS_HEADER = 8,           /* octets: EB 90, three times the length */
	LS_PREAMBLE_CHIPS = 64,  /* 24 periods, 8 chips light, 8 dark */
	LS_SAMPLES_PER_CHIP = 16
};

/* Cycles of 1 MHz that a chip of this rate (0 to 5) lasts. */
static inline uint8_t ls_light_divider(uint8_t rate)
{
	return rate == 5 ? 50 : (uint8_t)(1 << rate);
}

void ls_light_header(uint8_t header[LS_HEADER], uint16_t length);

/* The length that a header tells, by majority; 0 if it is none (more than two
 * wrong bits in EB 90, nibbles that do not exclusive-or to A). */
uint16_t ls_light_length(const uint8_t header[LS_HEADER]);

/* Chips of a frame, one after the other. */
struct ls_light_sender {
	const uint8_t *body;
	uint8_t header[LS_HEADER];
	uint16_t length;
	uint32_t chip;
};
void ls_light_send(struct ls_light_sender *s, const uint8_t *body, uint16_t length);
/* 1 light, 0 dark, -1 after the last chip. */
int ls_light_chip(struct ls_light_sender *s);

/* A receiver at one rate, fed 16 samples a chip. */
enum ls_light_event { LS_NOTHING, LS_STARTED, LS_OCTET, LS_ENDED, LS_FALSE };
struct ls_light_receiver {
	uint8_t state, level, first;
	uint16_t run;         /* samples since the last edge */
	uint8_t phase;        /* samples into the bit */
	uint8_t shift, bits;
	uint8_t header[LS_HEADER], got, header_violations;
	uint16_t left;        /* octets of the body to come */
	uint8_t octet;        /* LS_OCTET, LS_ENDED: the octet of the body */
	uint16_t violations;  /* of the frame so far */
};
void ls_light_listen(struct ls_light_receiver *r);
enum ls_light_event ls_light_sample(struct ls_light_receiver *r, bool light);

#endif
