-- What corral has HAProxy do beyond its own rules: read the few fields that limits are about, and count tokens as they
-- pass. It keeps nothing of what passes and changes nothing of it. One thread runs it, so that its counts are whole.
--
-- From the environment (HAProxy 2.6 hands no arguments to a file): the most sequences of a request, its most tokens
-- (0: as many as the engine allows), the file of the tokens spent so far ("KEY MONTH TOKENS" a line), the socket of the
-- master, which hands commands on to its workers, and how long a body may take to come: so many seconds, and one for each so many bytes.
local most_n, most_tokens = tonumber(os.getenv("CORRAL_MAX_N")), tonumber(os.getenv("CORRAL_MAX_TOKENS"))
local spent_file, master = os.getenv("CORRAL_SPENT"), os.getenv("CORRAL_MASTER")
local body_s, body_bytes_per_s = tonumber(os.getenv("CORRAL_BODY_S")), tonumber(os.getenv("CORRAL_BODY_BYTES_PER_S"))

local spent, revoked = {}, {}

local function month() return os.date("!%Y-%m") end

local function spent_of(key)
  local known = spent[key]
  if not known or known.month ~= month() then
    known = { month = month(), tokens = 0 }
    spent[key] = known
  end
  return known
end

local function load_spent()
  local file = io.open(spent_file)
  if not file then return end
  for line in file:lines() do
    local key, of_month, tokens = line:match("^(%S+) (%S+) (%d+)$")
    if key then spent[key] = { month = of_month, tokens = tonumber(tokens) } end
  end
  file:close()
end

load_spent()

-- The names and values of an object's first level, read from pieces of its text. What is deeper is passed over.
local Fields = {}
Fields.__index = Fields

local LONGEST = 512
local DEEPER = '["{}%[%]]'  -- what matters there: the commas of a prompt of token ids do not

function Fields.new(told)
  return setmetatable({ told = told, depth = 0, text = "", name = nil, begun = false }, Fields)
end

function Fields:keep(data, first, last)
  if self.depth == 1 and #self.text < LONGEST then
    self.text = self.text .. data:sub(first, math.min(last, first + LONGEST - 1))
  end
end

function Fields:tell()
  local name, text, is_text = self.name, self.text, self.is_text
  self.name, self.text, self.is_text = nil, "", false
  if not name then return nil end
  return self.told(name, is_text and text or text:match("^%s*(.-)%s*$"), is_text, self.nested)
end

-- Where a text ends, of which nothing is kept; else whether the next piece begins with what is escaped.
local function text_end(data, at)
  local from = at
  while true do
    local quote = data:find('"', from, true)
    local last = (quote or #data + 1) - 1
    local first = last
    while first >= at and data:byte(first) == 92 do first = first - 1 end
    local is_escaped = (last - first) % 2 == 1
    if not quote then return nil, is_escaped end
    if not is_escaped then return quote end
    from = quote + 1
  end
end

-- What is wrong with what was read, or nil.
function Fields:read(data)
  if data:find("\0", 1, true) then return "the body is not JSON in UTF-8" end
  local at = 1
  if self.skip then at, self.skip = 2, false end
  if not self.begun then
    at = data:find("%S") or #data + 1
    if at <= #data then
      if data:sub(at, at) ~= "{" then return "the body is no JSON object" end
      self.begun = true
    end
  end
  while at <= #data do
    if self.in_text and self.depth > 1 then
      local last, is_escaped = text_end(data, at)
      self.skip = is_escaped
      if not last then return nil end
      self.in_text, at = false, last + 1
    end
    local where = data:find(self.in_text and '["\\]' or self.depth > 1 and DEEPER or '["{}%[%],:]', at)
    if self.in_text or not self.is_text then self:keep(data, at, (where or #data + 1) - 1) end
    if not where then return nil end
    local sign = data:sub(where, where)
    if not self.in_text then
      local wrong = self:mark(sign)
      if wrong then return wrong end
    elseif sign == '"' then
      self.in_text = false
    else
      self.escaped = self.escaped or self.depth == 1
      self:keep("\\", 1, 1)
      self.skip = where == #data
      where = where + 1
    end
    at = where + 1
  end
end

function Fields:mark(sign)
  if sign == '"' then
    self.in_text = true
    if self.depth == 1 then self.text, self.is_text, self.escaped = "", true, false end
  elseif sign == "{" or sign == "[" then
    self.depth = self.depth + 1
    self.nested = self.depth > 1
  elseif sign == "}" or sign == "]" then
    local wrong = self.depth == 1 and self:tell() or nil
    self.depth = self.depth - 1
    return wrong
  elseif self.depth == 1 and sign == ":" then
    if self.escaped then return "the name of a field is spelled with escapes" end
    self.name, self.text, self.is_text, self.nested = self.text, "", false, false
  elseif self.depth == 1 then
    return self:tell()
  end
end

local COUNTS = { n = true, best_of = true }
local LENGTHS = { max_tokens = true, max_completion_tokens = true, max_output_tokens = true }

-- Reads a request as it comes; `wrong` holds why it is refused, and the status of that.
local Request = {}
Request.__index = Request

function Request.new(models, path)
  local self = setmetatable({ models = models, path = path }, Request)
  self.fields = Fields.new(function(...) return self:field(...) end)
  return self
end

function Request:refuse(status, why)
  self.status, self.why = status, why
  return why
end

function Request:field(name, value, is_text, nested)
  if name == "model" then
    self.model = value
    if self.models ~= "" and not (is_text and ("," .. self.models .. ","):find("," .. value .. ",", 1, true)) then
      return self:refuse(403, "this key is not for that model")
    end
  elseif COUNTS[name] or (LENGTHS[name] and most_tokens > 0) then
    local most = COUNTS[name] and most_n or most_tokens
    local number = not (is_text or nested) and tonumber(value)
    if value == "null" and not is_text then return nil end
    if not number then return self:refuse(400, name .. " is no number") end
    if number > most then return self:refuse(400, name .. " is above " .. most .. ", the most that is allowed here") end
    self.has_length = self.has_length or LENGTHS[name]
  end
end

function Request:read(data)
  local wrong = self.fields:read(data)
  if wrong and not self.why then self:refuse(400, wrong) end
  return self.why
end

function Request:ended()
  if self.why then return self.why end
  if not self.fields.begun then return self:refuse(400, "the body is no JSON object") end
  if self.models ~= "" and not self.model then
    return self:refuse(403, "this key is for named models: name one")
  end
  if most_tokens > 0 and not self.has_length and self.path ~= "/v1/completions" then
    return self:refuse(400, "say max_tokens, at most " .. most_tokens)
  end
end

local function tell(txn, request)
  txn:set_var("txn.why", request.why)
  txn:set_var("txn.verdict", request.status)
end

local function left_of_month_s()
  local now = os.date("!*t")
  local first = os.time({ year = now.year, month = now.month + 1, day = 1, hour = 0 })
  return math.max(1, math.floor(first - os.time(now)))
end

-- Whether a whole body surely has nothing that is judged, where neither a model nor the tokens are limited: to find that
-- out costs far less than to read it. A name spelled with escapes would need one of these letters' own.
local function is_plain(body)
  return body:find("^%s*{") and not body:find('"n"', 1, true) and not body:find('"best_of"', 1, true)
    and not body:find("\\u00[567]") and not body:find("\0", 1, true)
end

-- Judges what has come of a request: all of it where it fits into a buffer, else its beginning.
core.register_action("judge", { "http-req" }, function(txn)
  local key, budget = txn:get_var("txn.key"), tonumber(txn:get_var("txn.budget") or 0)
  if budget > 0 and spent_of(key).tokens >= budget then
    txn:set_var("txn.wait_s", left_of_month_s())
    tell(txn, { why = "the tokens of this key for the month are spent", status = 429 })
    return
  end
  local path = txn:get_var("txn.path")
  if path == "/v1/models" then return end
  local models, body = txn:get_var("txn.models") or "", txn.f:req_body() or ""
  local is_whole = #body >= (txn.f:req_body_size() or 0)
  if is_whole and models == "" and most_tokens == 0 and is_plain(body) then return end
  local request = Request.new(models, path)
  if request:read(body) or (is_whole and path ~= "/v1/messages/count_tokens" and request:ended()) then
    tell(txn, request)
  elseif not is_whole then
    txn:set_var("txn.in_parts", 1)
  end
end, 0)

-- Bodies that fit into no buffer and have not ended: by their client's address and port the second by which they must.
-- HAProxy (2.6.12) holds no timeout of the client's against one: `timeout client` does not run then, only the server's.
local unfinished = {}

local function client_of(txn) return txn.f:src() .. ":" .. txn.f:src_port() end

-- To this worker, which may be one of before a change that still has its streams.
local function command(text)
  local door, own = core.tcp(), io.open("/proc/self/stat"):read("n")
  door:settimeout(5)
  if not door:connect("unix@" .. master) then return "" end
  door:send("@!" .. own .. " " .. text .. "\n")
  local said, line = {}, nil
  repeat  -- an answer ends with an empty line; the master would go on listening
    line = door:receive("*l")
    said[#said + 1] = line
  until not line or line == ""
  door:close()
  return table.concat(said, "\n")
end

core.register_task(function()
  while true do
    core.msleep(500)
    local late = {}
    for client, by in pairs(unfinished) do
      if core.now().sec >= by then late[client] = true end
    end
    if next(late) then
      for session, client in command("show sess"):gmatch("(0x%x+): proto=%S+ src=(%S+)") do
        if late[client] then command("shutdown session " .. session) end
      end
      for client in pairs(late) do unfinished[client] = nil end
    end
  end
end)

local Meter = { id = "corral.meter", flags = filter.FLT_CFG_FL_HTX }
Meter.__index = Meter

function Meter:new()
  return setmetatable({ input = 0, output = 0, events = 0, accounted = 0 }, Meter)
end

function Meter:http_headers(txn, message)
  if message:is_resp() then
    self.key = txn:get_var("txn.key")
    local is_ok = tonumber(message:get_stline().code) == 200
    if is_ok and self.key and txn:get_var("txn.generates") then
      self.spent = spent_of(self.key)
      filter.register_data_filter(self, message.channel)
    end
  elseif txn:get_var("txn.in_parts") then
    self.request = Request.new(txn:get_var("txn.models") or "", txn:get_var("txn.path"))
    self.left = txn.f:req_body_size() or 0
    self.client = client_of(txn)
    unfinished[self.client] = core.now().sec + body_s + self.left // body_bytes_per_s
    filter.register_data_filter(self, message.channel)
  end
end

-- What follows runs for every piece of every stream, while the one thread does nothing else: few calls, no variables of
-- HAProxy's. A call of a filter costs 13 us before its first line, so no other callback is there than must be.
local find, gmatch, sub, max = string.find, string.gmatch, string.sub, math.max

local function events_of(data)
  local count, at = find(data, "^data: {") and 1 or 0, find(data, "\ndata: {", 1, true)
  while at do count, at = count + 1, find(data, "\ndata: {", at + 8, true) end
  return count
end

-- An engine sends the tokens of all streams at one moment. Who still waits for a first one, or asks, goes before those
-- under way: the first event of a chat has no token.
local GIVES_WAY = 1024

local USAGE = { prompt_tokens = "input", input_tokens = "input", completion_tokens = "output", output_tokens = "output" }

-- Usage is read where the engine tells it: a quote inside an answer's text has a backslash before it, so nothing that a
-- model writes is taken for it. The largest counts, for a stream may tell it many times. It may be told in two pieces,
-- but never across the end of an event.
function Meter:count(data)
  local text = self.tail and self.tail .. data or data
  self.tail = sub(data, -2) ~= "\n\n" and sub(text, -64) or nil
  if find(text, '_tokens":', 1, true) then
    for name, digits in gmatch(text, '"(%l+_tokens)":%s*(%d+)') do
      local kind = USAGE[name]
      if kind then self[kind] = max(self[kind], tonumber(digits)) end
    end
  end
  local events = self.events + events_of(data)
  if self.events < 2 and events > 1 then core.set_nice(GIVES_WAY) end
  self.events = events
  local used = self.input + (self.output > 0 and self.output or events)
  if used > self.accounted then
    self.spent.tokens = self.spent.tokens + used - self.accounted
    self.accounted = used
  end
end

function Meter:http_payload(txn, message)
  local data = message:body()
  if not data then return end
  if self.request and not message:is_resp() then return self:judge(txn, data) end
  if revoked[self.key] then error("a key was revoked") end
  self:count(data)
end

-- A piece of a request; where it is refused, nothing of it goes on.
function Meter:judge(txn, data)
  self.left = self.left - #data
  if self.left <= 0 then unfinished[self.client] = nil end
  if self.request:read(data) or (self.left <= 0 and self.request:ended()) then
    tell(txn, self.request)
    error("a request was refused")
  end
end

-- Also of one whose client went, or that was cut. For the audit; a variable for each token would cost more than its count.
function Meter:end_analyze(txn, channel)
  if self.client then unfinished[self.client] = nil end
  if self.spent and channel:is_resp() then
    txn:set_var("txn.input_tokens", self.input)
    txn:set_var("txn.output_tokens", self.output)
    txn:set_var("txn.events", self.events)
  end
  return filter.CONTINUE
end

core.register_filter("meter", Meter, function(filter, arguments) return filter end)

core.register_cli({ "corral", "revoke" }, "corral revoke KEY", function(applet, _, _, key)
  revoked[key] = true
  applet:send("cut\n")
end)

core.register_cli({ "corral", "spent" }, "corral spent KEY", function(applet, _, _, key)
  applet:send(spent_of(key).tokens .. "\n")
end)
