"""What servers say of the sender, of room and of time in languages other than English.

A line is a language. Its words are told by their stems, since most languages change their ends.
"""

from __future__ import annotations

__all__ = ["FULL", "PASSING", "SENDER"]

SENDER = r"""
    \babsender|\bversender
    \b(?:[eé]metteur|exp[eé]diteur)
    \bremitente|\bremetente|\bmittente|\bexpeditor
    \bafzender|\bafsender|\bavsender|\bavsändare|\blähettäj
    \bnadawc|\bodes[ií]latel|\bodosielate[lľ]|\bpošiljatelj|\bfeladó
    отправител|відправник|подател|αποστολ[έε]
    \bgönder(?:en|ici)|người gửi|\bpengirim|ผู้ส่ง|المرسل|השולח
    送信(?:者|元)|発信(?:者|元)|差出人
    [发發寄]件[人者]|[发發]信[人者]|[发發]送[人者]|寄信[人者]
    발신|보낸 ?(?:사람|이)|송신자
"""

_POST = r"(?:caixa|casella|casilla|buz[oó]n|spazio|espaço|espacio)\b.{0,40}"
FULL = rf"""
    (?:postfach|mail ?box|speicherplatz)\b.{{0,40}}\b(?:voll|erschöpft|überschritten)\b
    bo[iî]te .{{0,40}}pleine|quota d[eé]pass
    {_POST}(?:\bpien[ao]|\blle[na]|\bllen[ao]|chei[ao]\b|lotad[ao]\b|esaurit|esgotad|agotad)
    \b(?:cu?|qu)ota (?:de \w+ )?(?:excedid|superad|superat)
    (?:supera|excede)\w* (?:l[ao] )?(?:cu?|qu)ota
    \b(?:postvak|postbus|mail ?box|inbox)\b.{{0,20}}\bvol\b
    (?:inkorg|brevlåd|postlåd|postkass|innboks|indbakke|mailboks)\w*.{{0,20}}\bful[ld]\b
    postilaati\w+.{{0,20}}täyn|kiintiö\w*.{{0,20}}(?:ylit|täyn)
    skrzynk\w .{{0,20}}(?:pełn|przepełn|zapełn)|przekroczon\w .{{0,20}}(?:limit|pojemno)
    schránk\w.{{0,20}}(?:pln[áaéeý]|preplnen|přeplněn)|(?:překročen|prekročen)\w* (?:kvót|limit)
    (?:postafiók|postaláda)\w*.{{0,20}}(?:tele\b|megtelt)|căsuț\w+.{{0,20}}plin
    ящик\w*.{{0,30}}(?:перепол|полон|заполн)|кути\w+.{{0,20}}пълн|скриньк\w+.{{0,20}}переповн
    (?:превышен|перевищен|исчерпан)\w* .{{0,20}}(?:квот|лимит|ліміт)
    квот\w+ .{{0,20}}(?:превыш|перевищ)
    γραμματοκιβ[ώω]τιο.{{0,20}}(?:γεμάτ|πλήρ)
    kutusu\w*.{{0,20}}dolu|kota\w*.{{0,20}}(?:aşıl|dolu)|hộp thư.{{0,20}}đầy
    kotak (?:surat|masuk).{{0,20}}penuh
    いっぱい|満杯|容量\S{{0,6}}(?:超過|超え|オーバー|不足)|空き容量
    [箱间間]\S{{0,4}}[满滿]|(?:容量|空间|空間|配额|配額)\S{{0,6}}(?:超|不足|[满滿])|超[出过過]\S{{0,8}}(?:容量|空间|空間|配额|配額)
    용량.{{0,6}}초과|메일함.{{0,10}}가득
"""

PASSING = r"""
    \btempor[äa]r|vorübergehend|\bspäter\b|erneut versuchen
    \btemporair|plus tard|r[eé]essay
    \btemporal|\btempor[aá]ri|m[aá]s tarde|mais tarde|intente de nuevo|tente novamente
    \btemporane|più tardi|\briprova
    \btijdelijk|probeer .{0,20}(?:later|opnieuw)
    \btillfällig|\bmidlertidig|\bsenere\b|\btilapäis
    \bchwilow|\btymczasow|p[óo][źz]niej|\bdočasn|\bpozději|\bneskôr|\bátmenet|\bkésőbb
    временн|позже|тимчасов|пізніше|временно|προσωριν
    \bgeçici|daha sonra|tạm thời|\bsementara
    一時的|後ほど|しばらく|再試行|再送
    暂时|暫時|稍[后後]|[请請]重[试試]
    일시적|나중에|다시 시도
"""
