-- Sends the credentials of a file in turn: one line each, header value and cluster between a tab.
local requests = {}
local last = 0

function init(args)
   local lines = {}
   for line in io.lines(args[1]) do
      lines[#lines + 1] = line
   end
   for index, line in ipairs(lines) do
      local authorization, cluster = line:match("^(.*)\t(.*)$")
      wrk.headers["authorization"] = authorization
      wrk.headers["x-target-cluster"] = cluster
      if #lines > 1 then
         requests[index] = wrk.format("GET")
      end
   end
   if #lines == 1 then
      -- Without this function wrk sends one text again and again, at no cost to itself.
      request = nil
   end
end

function request()
   last = last % #requests + 1
   return requests[last]
end

function done(summary)
   local errors = summary.errors
   io.write(string.format(
      '{"requests":%d,"refused":%d,"failed":%d,"microseconds":%d}\n',
      summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
      summary.duration))
end
