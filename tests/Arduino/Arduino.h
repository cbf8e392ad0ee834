// Declares the functions of Arduino that the sketches of the docs use. docs/check.py compiles the sketches with these declarations.
#pragma once
#include <stdint.h>
#include <string.h>

void delay(uint32_t milliseconds);
unsigned long millis();
uint16_t analogRead(uint8_t pin);
