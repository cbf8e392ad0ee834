// Declares the members of the library "WebSockets" by Markus Sattler that the sketches of the docs use.
#pragma once
#include "Arduino.h"

class WebSocketsClient {
 public:
  void begin(const char *host, uint16_t port, const char *url = "/", const char *protocol = "arduino");
  void loop();
  bool sendBIN(const uint8_t *payload, size_t length);
  void setExtraHeaders(const char *headers = nullptr);
  void setReconnectInterval(unsigned long milliseconds);
  void enableHeartbeat(uint32_t pingInterval, uint32_t pongTimeout, uint8_t missedPongs);
};
